"""Records that nobody can read or carry: decisions go on beside them, no process ends, and each is kept as a dead letter."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterable

import cramjam
import msgspec
from aiokafka.codec import lz4_encode
from confluent_kafka import Producer

from infra import stack
from streams.log import topics
from streams.log.topics import DEAD_LETTERS, TRANSACTIONS
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.kafka.clients import flush, new_reporting_producer
from streams.runtime.settings import Settings
from tests.attack.attacker import writer
from tests.attack.bystanders import payment, undecided
from tests.attack.registry import Finding, attack
from tests.support.mutations import CLASSICS, mutations
from tests.support.raw_batches import GZIP, LZ4, ZSTD, batch, record, send_batch
from tests.support.running import ends_of, read_topic, run_cli

KEPT_WITHIN_S = 60.0
#: a topic that a process of the stack follows, and a JSON record like those on it; None: it holds MessagePack, or what is sent is enough
FOLLOWED: dict[str, bytes | None] = {
    topics.LABELS.name: b'{"transaction_id":"tx-1","label":"fraud","label_time":"2026-11-21T10:15:30Z","source":"analyst",'
    b'"card_id":"c","merchant_id":"m","event_time":"2026-11-21T10:15:30Z"}',
    topics.FEATURES.name: None,
    topics.ENTITIES.name: None,
    topics.DECISIONS.name: b'{"transaction_id":"tx-1","decision":"decline","status":"scored","score":0.5}',
    topics.OUTCOMES.name: b'{"decision":{"transaction_id":"tx-1"},"label":"fraud","label_time":"2026-11-21T10:15:30Z"}',
    topics.DRIFT.name: b'{"detector":"ks","feature":"*","rows":1,"statistic":0.1,"severity":"none"}',
    topics.RETRAINING.name: b'{"model":"fraud","reason":"drift","evidence":[],"cooldown_s":-1,"data_from":"2026-11-21T10:15:30"}',
    topics.ROLLOUTS.name: b'{"model":"fraud","champion":"1.0.0","previous":null,"sequence":1,"since":"2026-11-21T10:15:30"}',
    topics.ROLLOUT_REQUESTS.name: b'{"request_id":"r","action":"approve","model":"../x","version":"1","requested_at":"2026-11-21"}',
    topics.DEAD_LETTERS.name: b'{"reason":"x","source_topic":"transactions","source_partition":0,"source_offset":99999999999999999999}',
}
#: what reads those topics when a person asks
COMMANDS = (("drift",), ("decisions", "tail"), ("dead-letters", "list"), ("models", "list"))


@attack("poison of content on transactions")
def unreadable_transactions(settings: Settings) -> Finding:
    """Values that are no transactions, on every partition."""
    good = msgspec.json.encode(payment())
    values = [*CLASSICS, good.replace(b"{", b'{"amount_minor":1,', 1)]
    return _beside(settings, lambda: send(settings, TRANSACTIONS.name, values), len(values))


@attack("poison of size on transactions")
def oversized_transactions(settings: Settings) -> Finding:
    """What a producer's default settings allow: large values and headers, batches that decompress to far more than they are."""

    def produce() -> None:
        producer = _producer(settings, TRANSACTIONS.name)
        good = msgspec.json.encode(payment())
        for partition in range(settings.partitions):
            producer.produce(TRANSACTIONS.name, partition=partition, value=b"x" * 760_000)
            producer.produce(TRANSACTIONS.name, partition=partition, value=good[:-1] + b" " * 900_000 + b"}")
            # misplaced on all partitions but one: forwarded, without what it cannot carry
            headers = {"x": b"y" * 900_000, "tollgate-decided": b"d" * 20_000}
            producer.produce(
                TRANSACTIONS.name, partition=partition, value=msgspec.json.encode(payment()), headers=headers
            )
        flush(producer, 30)
        for partition in range(settings.partitions):
            for raw in bombs():
                send_batch(writer(settings, TRANSACTIONS.name), TRANSACTIONS.name, partition, raw)

    return _beside(settings, produce, 2 + len(bombs()))


@attack("headers that are not UTF-8")
def unreadable_headers(settings: Settings) -> Finding:
    """A header's name of any bytes beside a payment: the payment is decided."""
    partitions = range(settings.partitions)
    good = msgspec.json.encode(payment())

    def produce() -> None:
        for partition in partitions:
            one = record(0, None, good, [(b"\xff\xfe", b"v"), (b"", None)])
            send_batch(writer(settings, TRANSACTIONS.name), TRANSACTIONS.name, partition, batch([one]))

    return _beside(settings, produce, 0)


@attack("poison on every topic that somebody follows")
def unreadable_everywhere(settings: Settings) -> Finding:
    """Values that are no records, on the topics between the processes: they live, and so do the commands."""
    before = pids(settings)
    for topic, like in FOLLOWED.items():
        values = [*CLASSICS, b"x" * 900_000, *(mutations(like, 100) if like else ())]
        send(settings, topic, values)
    stopped = undecided(settings)
    said = [f"no decisions on partitions {stopped}"] if stopped else []
    for name, pid in pids(settings).items():
        if before.get(name) != pid:
            said.append(f"{name} was restarted")
    for command in COMMANDS:
        done = run_cli(settings, *command)
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            said.append(f"`{' '.join(command)}`: exit {done.returncode}: {done.stderr[-200:]}")
    return Finding(not said, "; ".join(said) or f"{len(FOLLOWED)} topics, {len(COMMANDS)} commands: all live")


def bombs() -> list[bytes]:
    """Batches of one record each that decompress to 200 MB."""
    plain = record(0, None, b"0" * 200_000_000)
    packed = {
        GZIP: gzip.compress(plain, 9),
        ZSTD: bytes(cramjam.zstd.compress(plain)),
        LZ4: lz4_encode(plain),
    }
    return [batch([b""], codec=codec, compressed=raw) for codec, raw in packed.items()]


def send(settings: Settings, topic: str, values: Iterable[bytes | None]) -> None:
    """Produce values to every partition of a topic."""
    partitions = next(t.partitions for t in topics.ALL if t.name == topic) or settings.partitions
    producer = _producer(settings, topic)
    for partition in range(partitions):
        for value in values:
            producer.produce(topic, key=b"fraud", partition=partition, value=value)
    flush(producer, 60)


def _producer(settings: Settings, topic: str) -> Producer:
    # a record that the broker refuses must not end the others
    return new_reporting_producer(writer(settings, topic), "attacker", **{"enable.idempotence": False})


def pids(settings: Settings) -> dict[str, int | None]:
    """The pid of each process of the stack, by name."""
    return {process["name"]: process["pid"] for process in stack.processes(settings)}


def _beside(settings: Settings, attack_it: Callable[[], None], refused: int) -> Finding:
    """Attack `transactions`; ``refused``: how many records of each partition must become dead letters."""
    letters, before = ends_of(settings, DEAD_LETTERS.name, 1), pids(settings)
    attack_it()
    stopped = undecided(settings)
    wanted = refused * settings.partitions
    kept = _kept(settings, letters, wanted)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(kept.items())) or "none"
    ended = [name for name, pid in pids(settings).items() if before.get(name) != pid]
    text = f"{kept.total()} of {wanted} dead letters: {reasons}"
    if stopped:
        text = f"no decisions on partitions {stopped}; {text}"
    if ended:
        text = f"{', '.join(ended)} ended; {text}"
    return Finding(not stopped and not ended and kept.total() == wanted, text)


def _kept(settings: Settings, start: dict[int, int], wanted: int) -> Counter[str]:
    """Dead letters of transactions since ``start`` by reason, once there are ``wanted`` of them or the wait is over."""
    until = time.monotonic() + KEPT_WITHIN_S
    while True:
        found = read_topic(settings, DEAD_LETTERS.name, start)
        letters = [decode_dead_letter(message.value()) for message in found]
        # one record may be kept again, when its partition is assigned anew
        refused = {
            (one.source_partition, one.source_offset): one.reason
            for one in letters
            if one.source_topic == TRANSACTIONS.name
        }
        kept = Counter(refused.values())
        if kept.total() >= wanted or time.monotonic() > until:
            return kept
        time.sleep(0.5)
