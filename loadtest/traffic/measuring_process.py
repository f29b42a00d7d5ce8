"""The measuring process: counts and times the decisions of one run by reading the log, while the producer sends.

``python -m loadtest.traffic.measuring_process``: one JSON object per line. Input: start offsets and which transactions belong to the
run, then how many were produced. Output: progress ten times a second, then the result. It exits when its input ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import TopicPartition

from loadtest.traffic.repeats import Repeats
from loadtest.traffic.verdicts import Verdicts
from streams.audit import Accounts, Balance, Span
from streams.contracts.tenants import Tenants
from streams.log import topics
from streams.runtime.kafka.clients import headers_of
from streams.runtime.kafka.connection import KafkaAddress
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.parts import KafkaPart

WATCHED = (topics.TRANSACTIONS.name, topics.DECISIONS.name, topics.DEAD_LETTERS.name)
HEADER_RUN = "tollgate-run"
#: how long to wait after the last decision, to see duplicates
GRACE_S = 0.5
#: without news for so long, what is undecided may have been decided before
QUIET_S = 1.0
PROGRESS_S = 0.1


class Begin(msgspec.Struct):
    """First input line. To the run belong transactions with the id ``id_prefix``, two letters, "-", number, or with the run header ``run``.

    ``tell_declined``: progress says of each transaction with the prefix whether it was declined.
    """

    bootstrap: str
    redis: str | None
    start: Span
    id_prefix: str | None = None
    run: str | None = None
    #: file for what was decided on each transaction (``loadtest.traffic.verdicts``); none: nobody asks
    verdicts: str | None = None
    #: how to connect, if Kafka runs elsewhere
    kafka: KafkaPart | None = None
    tell_declined: bool = False
    #: for which tenants transactions count (``streams.contracts.tenants``)
    tenants: tuple[str, ...] = ()
    unknown_tenant: str = ""


class Produced(msgspec.Struct):
    """Second input line: all are produced; wait for their decisions until no record has arrived for ``wait_s``."""

    produced: int
    wait_s: float


class Progress(msgspec.Struct, tag="progress"):
    """Records so far: the run's on `transactions`, all decisions and dead letters, also of other traffic, and the run's repeats.

    ``declined``: transactions decided since the last progress, and whether each was declined.
    """

    transactions: int
    decided: int
    dead_lettered: int
    repeats: int
    declined: dict[str, bool] = {}


class Result(msgspec.Struct, tag="result"):
    """Last output line. ``repeats``: sent before, in this run or an earlier one. Latencies in milliseconds, None if nothing was decided."""

    seen: int
    scored: int
    degraded: int
    not_scored: int
    dead_lettered: int
    missing: int
    duplicated: int
    repeats: int
    latency_ms: dict[str, float | None]


def main() -> None:
    """Measure one run."""
    lines = _lines()
    begin = msgspec.json.decode(next(lines), type=Begin)
    if begin.id_prefix is not None:
        # low priority: it reads the log's timestamps, so its own delay does not matter, but its CPU use would
        os.nice(10)
    produced: list[Produced] = []
    closed = threading.Event()
    threading.Thread(target=_listen, args=(lines, produced, closed), daemon=True).start()
    address = KafkaAddress(begin.bootstrap, begin.kafka)
    consumer = log_reader(address)
    try:
        consumer.assign([TopicPartition(t, p, o) for t, ends in begin.start.items() for p, o in ends.items()])
        mine = _mine(begin)
        accounts = Accounts(mine, Tenants(frozenset(begin.tenants), begin.unknown_tenant))
        repeats = Repeats(address, begin.redis, begin.start, accounts, mine)
        verdicts = Verdicts() if begin.verdicts else None
        balance = _watch(consumer, accounts, repeats, verdicts, produced, closed, Declined(begin))
    finally:
        consumer.close()
    if balance is not None:
        if verdicts is not None:
            verdicts.save(Path(str(begin.verdicts)))
        _write(_result(balance, produced[0].produced, repeats.look()))


def _mine(begin: Begin) -> Any:
    if begin.id_prefix is not None:
        mark = f'"transaction_id":"{begin.id_prefix}'.encode()
        return lambda record: _is_marked(record.value() or b"", mark)
    header = (HEADER_RUN, (begin.run or "").encode())
    return lambda record: header in headers_of(record)


def _is_marked(value: bytes, mark: bytes) -> bool:
    found = value.find(mark)
    return found >= 0 and value[found + len(mark) + 2 :][:1] == b"-"


def _lines() -> Iterator[bytes]:
    """Lines of standard input, read without Python's buffer: a thread blocked in that buffer would prevent the exit."""
    held = b""
    while chunk := os.read(sys.stdin.fileno(), 65_536):
        held += chunk
        while b"\n" in held:
            line, held = held.split(b"\n", 1)
            yield line


def _listen(lines: Iterator[bytes], produced: list[Produced], closed: threading.Event) -> None:
    produced.extend(msgspec.json.decode(line, type=Produced) for line in lines)
    closed.set()


class _Decision(msgspec.Struct):
    transaction_id: str
    decision: str


class Declined:
    """Whether each of a run's transactions was declined, collected from one progress to the next."""

    def __init__(self, begin: Begin) -> None:
        self._prefix = begin.id_prefix if begin.tell_declined else None
        self._decoder = msgspec.json.Decoder(_Decision)
        self._found: dict[str, bool] = {}

    def add(self, records: Sequence[Any]) -> None:
        """Add records; those of other topics than `decisions` are ignored."""
        if self._prefix is None:
            return
        for record in records:
            if record.topic() == topics.DECISIONS.name:
                try:
                    decided = self._decoder.decode(record.value())
                except (msgspec.MsgspecError, TypeError):
                    continue  # the balance leaves its transaction in flight
                if decided.transaction_id.startswith(self._prefix):
                    self._found[decided.transaction_id] = decided.decision == "decline"

    def take(self) -> dict[str, bool]:
        found, self._found = self._found, {}
        return found


def _watch(
    consumer: Any,
    accounts: Accounts,
    repeats: Repeats,
    verdicts: Verdicts | None,
    produced: list[Produced],
    closed: threading.Event,
    declined: Declined,
) -> Balance | None:
    """Read until all produced transactions are accounted for, or no record has arrived for ``wait_s``."""
    reported = checked = looked = last_news = time.monotonic()
    was_produced, entered, complete_at, repeated = False, -1, None, 0
    while not closed.is_set():
        records = [r for r in consumer.consume(10_000, timeout=PROGRESS_S) if r.error() is None]
        accounts.add(records)
        if verdicts is not None:
            verdicts.add(records)
        declined.add(records)
        now = time.monotonic()
        total = accounts.transactions + accounts.decisions + accounts.dead_letters
        if total != entered or (produced and not was_produced):
            entered, last_news, was_produced = total, now, bool(produced)
        if now - reported >= PROGRESS_S:
            reported = now
            _write(
                Progress(
                    accounts.transactions,
                    accounts.decisions,
                    accounts.dead_letters,
                    repeated,
                    declined.take(),
                )
            )
        if min(now - last_news, now - looked) > QUIET_S and accounts.transactions:
            # nobody decides what was decided before: neither sender nor result waits for it
            looked, repeated = now, accounts.balance().repeated + repeats.look()
        if not produced or now - checked < 0.3:
            continue
        if (
            accounts.decisions + accounts.dead_letters + repeated >= produced[0].produced
            or now - last_news > produced[0].wait_s
        ):
            checked = now
            balance = accounts.balance()
            if now - last_news > produced[0].wait_s:
                return balance
            before = repeats.count() if balance.in_flight else 0
            done = balance.in_flight == before and balance.ingested + balance.repeated >= produced[0].produced
            complete_at = (complete_at or now) if done else None
            if complete_at is not None and now - complete_at >= GRACE_S:
                return balance
    return None


def _result(balance: Balance, produced: int, before: int) -> Result:
    """``before``: transactions in flight that were decided before the run."""
    repeats = balance.repeated + before
    latency = balance.latency_ms
    points = np.percentile(latency, [50, 99, 99.9, 100]) if len(latency) else [None] * 4
    names = ("p50", "p99", "p999", "max")
    return Result(
        seen=balance.ingested,
        scored=balance.scored,
        degraded=balance.degraded,
        not_scored=balance.not_scored,
        dead_lettered=balance.dead_lettered,
        missing=max(produced, balance.ingested + balance.repeated)
        - balance.decided
        - balance.dead_lettered
        - repeats,
        duplicated=balance.duplicated,
        repeats=repeats,
        latency_ms={n: None if p is None else round(float(p), 3) for n, p in zip(names, points, strict=True)},
    )


def _write(message: Progress | Result) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
