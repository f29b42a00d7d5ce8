"""One suite over both brokers, the real Kafka and librdkafka's mock cluster: what our code relies on, through our code.

Where they differ by nature a test asserts the difference and says what relies on which side of it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from features.store.partitions import partitions_of
from infra import stack
from infra.stack.programs import programs
from infra.stack.tools import find_tools
from services.scoring.stream.decided_tail import decided_rows
from streams.audit import end_of, read_span, whole_log
from streams.log.records import HEADER_SOURCE_OFFSET
from streams.log.topics import (
    ALL,
    DECISIONS,
    FEATURES,
    LABELS,
    OUTCOMES,
    TRANSACTIONS,
    TopicError,
    ensure_topics,
)
from streams.runtime.kafka.clients import (
    DeliveryError,
    flush,
    new_consumer,
    new_producer,
    new_reporting_producer,
)
from streams.runtime.settings import Settings
from tests.support.running import ends_of, pid_of, read_topic, stand_still
from tests.support.waiting import until

PARTITIONS = 3
#: for whatever needs the broker, a group or a process, on a machine that does other things as well
SOON_S = 90.0
#: a moment of the year 2001 that a producer may claim
LONG_AGO_MS = 1_000_000_000_000
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module", params=["kafka", "mock"])
def broker(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    free_port_base: Callable[[], int],
) -> Iterator[Settings]:
    """A stack of which only the broker runs, of this module's own: it is filled with what no other test should read."""
    if request.param == "kafka" and not find_tools().real_kafka:
        pytest.skip("no real Kafka here: it needs Java 17 and its jars (`make setup`)")
    home = tmp_path_factory.mktemp(request.param)
    settings = stack.settings_for(home, free_port_base(), embedded=request.param == "mock")
    settings = msgspec.structs.replace(settings, partitions=PARTITIONS)
    settings = stack.start(settings, only=("kafka",), wait_s=90)
    try:
        # waits for the leaders of partitions that were created a moment ago
        end_of(settings.kafka, [topic.name for topic in ALL], timeout_s=SOON_S)
        yield settings
    finally:
        stack.stop(settings, purge=True)


def group_name() -> str:
    return f"conformance-{time.monotonic_ns()}"


def ends(broker: Settings, topic: str) -> dict[int, int]:
    return ends_of(broker, topic, PARTITIONS)


def since(broker: Settings, topic: str, start: dict[int, int]) -> list[Any]:
    """Records of a topic from ``start`` to its end as of now, each partition's in the order in which they came."""
    return read_topic(broker, topic, start, timeout_s=SOON_S)


def produce_values(broker: Settings, topic: str, values: list[bytes], partition: int) -> None:
    producer = new_producer(broker.kafka, "conformance")
    for value in values:
        producer.produce(topic, value, partition=partition)
    flush(producer, SOON_S)
    producer.close()


# --- placement and order ---


def test_keys_lie_where_partitions_of_says(broker: Settings) -> None:
    """The processor forwards what lies elsewhere; our own producers must never make it do so."""
    rng = random.Random(4)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_.:é中\U0001f4b3"
    keys = ["".join(rng.choices(letters, k=rng.randint(1, 64))) for _ in range(1_000)]
    start = ends(broker, OUTCOMES.name)
    producer = new_producer(broker.kafka, "conformance")
    for key in keys:
        producer.produce(OUTCOMES.name, b"x", key)
    flush(producer, SOON_S)
    producer.close()
    placed = {record.key().decode(): record.partition() for record in since(broker, OUTCOMES.name, start)}
    assert placed == dict(zip(keys, partitions_of(keys, PARTITIONS).tolist(), strict=True))
    assert set(placed.values()) == set(range(PARTITIONS))


def test_a_partition_keeps_the_order_of_its_producer_and_leaves_no_offset_out(broker: Settings) -> None:
    start = ends(broker, LABELS.name)
    producer = new_producer(broker.kafka, "conformance", **{"batch.num.messages": 50})
    for number in range(3_000):
        producer.produce(LABELS.name, str(number).encode(), partition=number % PARTITIONS)
    flush(producer, SOON_S)
    producer.close()
    records = since(broker, LABELS.name, start)
    for partition in range(PARTITIONS):
        ours = [record for record in records if record.partition() == partition]
        assert [int(record.value()) for record in ours] == list(range(partition, 3_000, PARTITIONS))
        first = start[partition]
        assert [record.offset() for record in ours] == list(range(first, first + 1_000))


# --- what a record carries ---

ODD: list[dict[str, Any]] = [
    {"key": b"k", "value": b"v", "headers": [("h", b"1"), ("h", b"2"), ("g", b"\x00\xff")]},
    {"key": b"k", "value": b"v", "headers": [("empty", b""), ("null", None)]},
    {"key": b"k", "value": None},
    {"key": b"k", "value": b""},
    {"key": b"", "value": b"empty key"},
    {"key": None, "value": b"no key"},
    {"key": bytes(range(256)), "value": bytes(range(256)) * 64},
]


def seen(record: Any) -> dict[str, Any]:
    found = {"key": record.key(), "value": record.value()}
    return found | ({"headers": record.headers()} if record.headers() else {})


@pytest.mark.parametrize("compression", ["lz4", "none"])
def test_headers_and_null_and_empty_values_survive(broker: Settings, compression: str) -> None:
    start = ends(broker, LABELS.name)
    producer = new_producer(broker.kafka, "conformance", **{"compression.type": compression})
    for record in ODD:
        producer.produce(LABELS.name, partition=0, **record)
    flush(producer, SOON_S)
    producer.close()
    assert [seen(record) for record in since(broker, LABELS.name, start)] == ODD


def test_append_time_is_the_brokers_and_on_the_mock_the_producers(broker: Settings) -> None:
    """Deadlines, latency and the check for events from the future run from `record.timestamp`.

    The mock knows no LogAppendTime: it believes the producer, whose clock is this machine's, so that latency there
    includes the producer's own queue. Our producers claim no time of their own; a foreign one on the mock may.
    """
    start = ends(broker, TRANSACTIONS.name)
    producer = new_producer(broker.kafka, "conformance")
    before_ms = int(time.time() * 1000)
    producer.produce(TRANSACTIONS.name, b"unstamped", partition=0)
    producer.produce(TRANSACTIONS.name, b"stamped", partition=0, timestamp=LONG_AGO_MS)
    flush(producer, SOON_S)
    producer.close()
    after_ms = int(time.time() * 1000)
    (kind, unstamped_ms), (same_kind, stamped_ms) = [
        record.timestamp() for record in since(broker, TRANSACTIONS.name, start)
    ]
    assert kind == same_kind
    assert before_ms <= unstamped_ms <= after_ms
    if broker.embedded:
        assert (kind, stamped_ms) == (1, LONG_AGO_MS)
    else:
        assert kind == 2 and before_ms <= stamped_ms <= after_ms


def test_create_time_is_the_producers(broker: Settings) -> None:
    """`labels` and what else is not stamped by the broker keeps the time that its producer gave."""
    start = ends(broker, LABELS.name)
    producer = new_producer(broker.kafka, "conformance")
    producer.produce(LABELS.name, b"stamped", partition=1, timestamp=LONG_AGO_MS)
    flush(producer, SOON_S)
    producer.close()
    (record,) = since(broker, LABELS.name, start)
    assert record.timestamp() == (1, LONG_AGO_MS)


# --- watermarks, spans, tails ---


def test_the_end_of_a_topic_grows_by_what_was_acknowledged_and_a_span_is_read_whole(broker: Settings) -> None:
    name = OUTCOMES.name
    start = end_of(broker.kafka, [name])
    assert sorted(start[name]) == list(range(PARTITIONS))
    for partition, count in ((0, 5), (2, 1_200)):
        produce_values(broker, name, [b"%d" % i for i in range(count)], partition)
    first, end = whole_log(broker.kafka, [name])
    assert {p: end[name][p] - start[name][p] for p in end[name]} == {0: 5, 1: 0, 2: 1_200}
    assert set(first[name].values()) == {0}
    read: list[Any] = []
    assert read_span(broker.kafka, start, end, read.extend, stall_s=SOON_S) == 1_205
    places = {(record.partition(), record.offset()) for record in read}
    assert places == {(p, o) for p in end[name] for o in range(start[name][p], end[name][p])}
    # a part of it, and nothing of what lies behind its end
    middle = {name: {2: start[name][2] + 100}}
    stop = {name: {2: start[name][2] + 150}}
    read.clear()
    assert read_span(broker.kafka, middle, stop, read.extend, stall_s=SOON_S) == 50
    assert [int(record.value()) for record in read] == list(range(100, 150))


def test_the_tail_says_what_was_decided_last_however_far_back_it_is(broker: Settings) -> None:
    """A replica that gets a partition reads it backwards to the newest record that names a source offset."""
    assert decided_rows(broker, 0).highest == -1
    producer = new_producer(broker.kafka, "conformance")
    for source in (7, 41):
        header = [(HEADER_SOURCE_OFFSET, str(source).encode())]
        producer.produce(DECISIONS.name, b"{}", partition=0, headers=header)
    flush(producer, SOON_S)
    assert decided_rows(broker, 0).highest == 41
    for _ in range(250):
        producer.produce(DECISIONS.name, b"{}", partition=0)
    flush(producer, SOON_S)
    producer.close()
    assert decided_rows(broker, 0).highest == 41
    assert decided_rows(broker, 1).highest == -1


# --- groups ---


def committed(broker: Settings, group: str, topic: str) -> dict[int, int]:
    """Next offset of each partition that a group has committed; partitions without one are left out."""
    consumer = new_consumer(broker.kafka, group)
    try:
        places = consumer.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=SOON_S)
    finally:
        consumer.close()
    return {place.partition: place.offset for place in places if place.offset >= 0}


def take(consumer: Consumer, count: int) -> list[Any]:
    """Exactly ``count`` records."""
    records: list[Any] = []
    deadline = time.monotonic() + SOON_S
    while len(records) < count and time.monotonic() < deadline:
        for record in consumer.consume(count - len(records), timeout=0.2):
            assert record.error() is None, record.error()
            records.append(record)
    assert len(records) == count
    return records


def test_a_group_goes_on_where_it_committed_and_its_note_comes_back(broker: Settings) -> None:
    name, group = FEATURES.name, group_name()
    produce_values(broker, name, [b"%d" % i for i in range(20)], 1)
    consumer = new_consumer(broker.kafka, group)
    consumer.subscribe([name])
    records = take(consumer, 20)
    assert [int(record.value()) for record in records] == list(range(20))
    assert committed(broker, group, name) == {}, "a consumer of ours commits nothing behind its caller's back"
    place = TopicPartition(name, 1, records[12].offset(), "source 12")
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    again = new_consumer(broker.kafka, group)
    (back,) = again.committed([TopicPartition(name, 1)], timeout=SOON_S)
    assert (back.offset, back.metadata) == (place.offset, "source 12")
    again.subscribe([name])
    assert [int(record.value()) for record in take(again, 8)] == list(range(12, 20))
    again.close()


class Member:
    """One consumer of a group, as a scoring replica is one."""

    def __init__(self, broker: Settings, group: str, topic: str) -> None:
        self.took: set[tuple[bytes, int]] = set()
        self._consumer = new_consumer(broker.kafka, group)
        self._consumer.subscribe([topic])

    def poll(self) -> None:
        for record in self._consumer.consume(100, timeout=0.1):
            assert record.error() is None, record.error()
            self.took.add((record.value(), record.partition()))

    def close(self) -> None:
        self._consumer.close()


def settle(
    broker: Settings,
    topic: str,
    poll: Callable[[], list[set[tuple[bytes, int]]]],
    settled: Callable[[list[set[int]]], bool],
    what: str,
) -> None:
    """Send rounds of one record per partition until the members share one round as ``settled`` wants it."""
    deadline = time.monotonic() + SOON_S
    while True:
        mark = b"round %d" % time.monotonic_ns()
        for partition in range(PARTITIONS):
            produce_values(broker, topic, [mark], partition)

        def whole(mark: bytes = mark) -> list[set[int]] | None:
            shares = [{partition for value, partition in took if value == mark} for took in poll()]
            return shares if set().union(*shares) == set(range(PARTITIONS)) else None

        shares = until(whole, SOON_S, f"a round to be read on the way to {what}")
        if settled(shares):
            return
        assert time.monotonic() < deadline, f"waited {SOON_S:g} s for {what}; last: {shares}"


def shared(shares: list[set[int]]) -> bool:
    """Every member has some partitions, and none is had twice."""
    return all(shares) and sum(map(len, shares)) == PARTITIONS


def test_members_share_the_partitions_and_one_that_leaves_leaves_its_own_to_the_other(
    broker: Settings,
) -> None:
    group = group_name()
    members = [Member(broker, group, FEATURES.name) for _ in range(2)]

    def poll() -> list[set[tuple[bytes, int]]]:
        for member in members:
            member.poll()
        return [member.took for member in members]

    settle(broker, FEATURES.name, poll, shared, "two members to share the partitions")
    members.pop().close()
    settle(broker, FEATURES.name, poll, shared, "the one that stayed to have them all")
    members.pop().close()


# --- chunks: the same, through Faust and aiokafka ---


class ChunkWorker:
    """A process of ``run_chunk_app``, and the chunks that it has handled so far."""

    def __init__(
        self, broker: Settings, group: str, topic: str, folder: Path, start: dict[int, int] | None = None
    ) -> None:
        self._file = folder / f"{group}-{time.monotonic_ns()}.jsonl"
        self._file.touch()
        command = [
            sys.executable, "-m", "tests.support.chunk_worker",
            broker.home, group, topic, self._file.stem, str(self._file),
        ]  # fmt: skip
        if start is not None:
            command.append(json.dumps(start))
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[2])

    def __enter__(self) -> ChunkWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(SOON_S)
        finally:
            self._process.kill()

    def chunks(self) -> list[dict[str, Any]]:
        # the last line may be half written
        lines = self._file.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def records(self) -> list[dict[str, Any]]:
        assert self._process.poll() is None, f"the worker ended with {self._process.returncode}"
        return [record for chunk in self.chunks() for record in chunk["records"]]

    def took(self) -> set[tuple[bytes, int]]:
        return {((record["value"] or "").encode("latin-1"), record["partition"]) for record in self.records()}


def as_written(record: Any) -> dict[str, Any]:
    """A record that confluent-kafka read, in the words of the chunk worker."""

    def text(raw: bytes | None) -> str | None:
        return None if raw is None else raw.decode("latin-1")

    return {
        "partition": record.partition(),
        "offset": record.offset(),
        "key": text(record.key()),
        "value": text(record.value()),
        "headers": [[name, text(value)] for name, value in record.headers() or []],
        "timestamp": record.timestamp()[1],
    }


def by_place(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: (record["partition"], record["offset"]))


def test_chunks_carry_what_other_clients_read_and_go_on_where_they_were_committed(
    broker: Settings, tmp_path: Path
) -> None:
    name, group = TRANSACTIONS.name, group_name()
    start = ends(broker, name)
    producer = new_producer(broker.kafka, "conformance")
    for number in range(600):
        producer.produce(name, partition=number % PARTITIONS, **ODD[number % len(ODD)])
    flush(producer, SOON_S)
    expected = [as_written(record) for record in since(broker, name, start)]
    with ChunkWorker(broker, group, name, tmp_path, start) as worker:
        until(lambda: len(worker.records()) >= 600, SOON_S, "600 records in chunks")
        assert by_place(worker.records()) == by_place(expected)
        # each chunk begins where the one before it ended
        reached = {str(partition): offset for partition, offset in start.items()}
        for chunk in worker.chunks():
            assert chunk["starts"] == {p: reached[p] for p in chunk["positions"]}
            for partition, position in chunk["positions"].items():
                offsets = [r["offset"] for r in chunk["records"] if str(r["partition"]) == partition]
                assert offsets == list(range(reached[partition], position))
            reached |= chunk["positions"]
        end = ends(broker, name)
        until(lambda: committed(broker, group, name) == end, SOON_S, f"the group to have committed {end}")
    for partition in range(PARTITIONS):
        producer.produce(name, b"after", partition=partition)
    flush(producer, SOON_S)
    producer.close()
    with ChunkWorker(broker, group, name, tmp_path) as worker:
        until(lambda: len(worker.records()) >= PARTITIONS, SOON_S, "what came after the commit")
        assert {(r["value"], r["partition"], r["offset"]) for r in worker.records()} == {
            ("after", partition, offset) for partition, offset in end.items()
        }


def test_chunk_workers_share_the_partitions_and_one_that_stops_leaves_its_own_to_the_other(
    broker: Settings, tmp_path: Path
) -> None:
    """On the mock a group of them is one worker, and so it is in embedded mode.

    Of two aiokafka members the mock refuses one when it syncs (InvalidRequest), which then stays without partitions.
    librdkafka's own members, such as scoring's, get along there: see above.
    """
    if broker.embedded:
        groups = [program.name.rpartition("-")[0] for program in programs(broker, find_tools())]
        assert groups.count("processor") == groups.count("labels") == groups.count("archive") == 1
        return
    name, group = LABELS.name, group_name()
    with ChunkWorker(broker, group, name, tmp_path) as stays:
        settle(broker, name, lambda: [stays.took()], shared, "the first worker to have them all")
        with ChunkWorker(broker, group, name, tmp_path) as leaves:
            settle(
                broker,
                name,
                lambda: [stays.took(), leaves.took()],
                shared,
                "two workers to share the partitions",
            )
        settle(broker, name, lambda: [stays.took()], shared, "the one that stayed to have them all")


# --- what is refused ---


def test_topics_are_there_once_and_another_partition_count_is_refused(broker: Settings) -> None:
    ensure_topics(broker.kafka, PARTITIONS)
    assert {name: len(p) for name, p in end_of(broker.kafka, [topic.name for topic in ALL]).items()} == {
        topic.name: topic.partitions or PARTITIONS for topic in ALL
    }
    with pytest.raises(TopicError, match="has 3 partitions and this stack wants 4"):
        ensure_topics(broker.kafka, PARTITIONS + 1)


def test_an_unknown_topic_is_a_failed_delivery_and_on_the_mock_a_new_topic(broker: Settings) -> None:
    """The mock makes what a producer asks for, whatever its name; so nothing may rely on a refusal to find a misspelling."""
    name = f"no-such-topic-{time.monotonic_ns()}"
    assert end_of(broker.kafka, [name]) == {name: {}}
    producer = new_producer(broker.kafka, "conformance", **{"topic.metadata.propagation.max.ms": 2_000})
    producer.produce(name, b"lost?")
    if broker.embedded:
        flush(producer, SOON_S)
        assert sum(end_of(broker.kafka, [name])[name].values()) == 1
    else:
        with pytest.raises(DeliveryError, match=name):
            flush(producer, SOON_S)
        assert end_of(broker.kafka, [name]) == {name: {}}
    producer.close()


def test_a_record_that_is_too_large_is_refused_by_the_client(broker: Settings) -> None:
    """Before it is sent, so that the producer stays good: what comes after it is delivered."""
    start = ends(broker, LABELS.name)
    producer = new_producer(broker.kafka, "conformance")
    with pytest.raises(KafkaException) as refused:
        producer.produce(LABELS.name, b"x" * 1_100_000, partition=0)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.produce(LABELS.name, b"small", partition=0)
    flush(producer, SOON_S)
    producer.close()
    assert [record.value() for record in since(broker, LABELS.name, start)] == [b"small"]


def test_what_the_broker_refuses_ends_the_producer_and_the_mock_refuses_no_size(broker: Settings) -> None:
    """A gap in what one producer sends would be a transaction that readers pass over: it must fail loudly, for good."""
    start = ends(broker, LABELS.name)
    large = random.Random(1).randbytes(1_500_000)
    producer = new_producer(broker.kafka, "conformance", **{"message.max.bytes": 5_000_000})
    # from here on the broker knows which sequence number must come next
    producer.produce(LABELS.name, b"before it", partition=0)
    flush(producer, SOON_S)
    producer.produce(LABELS.name, large, partition=0)
    if broker.embedded:
        flush(producer, SOON_S)
        assert ends(broker, LABELS.name)[0] == start[0] + 2
        producer.close()
        return
    producer.produce(LABELS.name, b"behind it", partition=0)
    with pytest.raises(DeliveryError, match="failed fatally"):
        until(lambda: producer.poll(0.1) < 0, SOON_S, "the producer to fail")
    with pytest.raises(KafkaException):
        producer.produce(LABELS.name, b"later", partition=0)
    producer.close()
    produce_values(broker, LABELS.name, [b"of a new producer"], 0)
    found = [record.value() for record in since(broker, LABELS.name, start)]
    assert found == [b"before it", b"of a new producer"]


# --- a broker that stands still ---


class Watched:
    """A producer that gives up waiting for an answer after a second, and counts how often it did."""

    def __init__(self, make: Callable[..., Producer], broker: Settings, **overrides: Any) -> None:
        self._timeouts = 0
        impatient = {"socket.timeout.ms": 1_000, "request.timeout.ms": 1_000}
        told = {"statistics.interval.ms": 100, "stats_cb": self._read}
        self.producer = make(broker.kafka, "conformance", **impatient, **told, **overrides)

    def timeouts(self) -> int:
        self.producer.poll(0.1)
        return self._timeouts

    def _read(self, statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        self._timeouts = sum(each["req_timeouts"] for each in brokers)


def sent_to_a_frozen_broker(broker: Settings, watched: Watched) -> list[bytes]:
    """What lies on a partition after the broker stood still, so that its client sent again what lay there unread."""
    producer = watched.producer
    producer.produce(OUTCOMES.name, b"connected", partition=0)
    flush(producer, SOON_S)
    start = ends(broker, OUTCOMES.name)
    pid = until(lambda: pid_of(broker, "kafka"), SOON_S, "the broker's pid")
    try:
        stand_still(pid)
        for number in range(10):
            producer.produce(OUTCOMES.name, b"%d" % number, partition=0)
        until(watched.timeouts, SOON_S, "a request without an answer")
    finally:
        os.kill(pid, signal.SIGCONT)
    flush(producer, SOON_S)
    producer.close()
    return [record.value() for record in since(broker, OUTCOMES.name, start)]


ONCE = [b"%d" % number for number in range(10)]


def test_what_was_sent_again_lies_there_once_and_on_the_mock_twice(broker: Settings) -> None:
    """Our producers are idempotent; the mock takes a sequence number for nothing, so that a retry doubles there.

    What copes with it: a transaction counts once by its id, scoring and labels drop what carries a source offset that
    they have seen. What does not: counts of records in embedded mode after a broker that stood still.
    """
    found = sent_to_a_frozen_broker(broker, Watched(new_producer, broker))
    if broker.embedded:
        assert set(found) == set(ONCE) and len(found) > len(ONCE)
    else:
        assert found == ONCE


def test_a_producer_that_is_not_idempotent_doubles_what_it_sends_again(broker: Settings) -> None:
    """So the test above can fail."""
    careless = Watched(new_reporting_producer, broker, **{"enable.idempotence": False})
    found = sent_to_a_frozen_broker(broker, careless)
    assert set(found) == set(ONCE) and len(found) > len(ONCE)
