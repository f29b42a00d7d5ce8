"""The demo's figures: decisions of one run, compared with the simulator's labels as they arrive."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import TopicPartition

from streams.audit import end_of
from streams.contracts.drift import DriftRow, decode_drift
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.log import topics
from streams.runtime.kafka.clients import is_record
from streams.runtime.kafka.log_reader import log_reader

RECENT_S = 5.0


class _Seen(msgspec.Struct):
    transaction_id: str
    decision: str
    status: str
    model_version: str = ""


class Scoreboard:
    """Counts of one run. ``known`` receives the true labels, ``decided`` the decisions. Reads no clock and no topic."""

    def __init__(self) -> None:
        self._truth: dict[str, str | None] = {}
        self._early: dict[str, str] = {}
        self.decisions: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.fraud: Counter[str] = Counter()
        self.caught: Counter[str] = Counter()
        self.false_alarms = 0
        self.honest = 0
        #: decisions by the version that made them
        self.versions: Counter[str] = Counter()
        self.drift: dict[str, str] = {}
        #: the newest critical row that says what the drift probably comes from
        self.cause: DriftRow | None = None
        self.retraining: list[str] = []
        self.outcomes = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=20_000)

    def known(self, table: pa.Table) -> None:
        """Store the true labels of transactions before they are sent (columns ``transaction_id``, ``fraud_kind``)."""
        ids, kinds = table["transaction_id"].to_pylist(), table["fraud_kind"].to_pylist()
        self._truth.update(zip(ids, kinds, strict=True))

    def decided(self, raw: bytes, latency_ms: float | None, now: float) -> None:
        """Count one decision, unless its transaction is of another run. ``now`` in seconds, any origin."""
        try:
            seen = msgspec.json.decode(raw, type=_Seen)
        except UNREADABLE:
            return
        if seen.transaction_id not in self._truth:
            return
        kind = self._truth.pop(seen.transaction_id)
        self.decisions[seen.decision] += 1
        self.statuses[seen.status] += 1
        self.versions[seen.model_version] += 1
        if latency_ms is not None:
            self._recent.append((now, latency_ms))
        stopped = seen.decision != "approve"
        if kind is None:
            self.honest += 1
            self.false_alarms += stopped
        else:
            self.fraud[kind] += 1
            self.caught[kind] += stopped

    def drifted(self, row: DriftRow) -> None:
        """Store the severity of one row of `drift`; the newest row of a feature counts."""
        self.drift[row.feature] = row.severity
        if row.severity == "critical" and row.cause is not None:
            self.cause = row

    @property
    def total(self) -> int:
        return sum(self.decisions.values())

    def recent(self, now: float) -> tuple[float, float | None, float | None]:
        """(decisions a second, p50, p99 in milliseconds) over the last few seconds."""
        latencies = [latency for at, latency in list(self._recent) if now - at <= RECENT_S]
        if not latencies:
            return 0.0, None, None
        p50, p99 = np.percentile(latencies, [50, 99])
        return len(latencies) / RECENT_S, float(p50), float(p99)


class Watcher:
    """A thread that reads new records of the topics into a scoreboard. A context manager."""

    def __init__(self, bootstrap: str, board: Scoreboard) -> None:
        names = [t.name for t in (topics.DECISIONS, topics.DRIFT, topics.RETRAINING, topics.OUTCOMES)]
        self._bootstrap, self._board = bootstrap, board
        self._start = end_of(bootstrap, names)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Scoreboard:
        self._thread.start()
        return self._board

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def _work(self) -> None:
        consumer = log_reader(self._bootstrap, **{"fetch.min.bytes": 1})
        try:
            consumer.assign(
                [TopicPartition(t, p, o) for t, ends in self._start.items() for p, o in ends.items()]
            )
            while not self._stop.is_set():
                for record in consumer.consume(2_000, timeout=0.2):
                    if is_record(consumer, record):
                        self._enter(record)
        finally:
            consumer.close()

    def _enter(self, record: Any) -> None:
        board, name = self._board, record.topic()
        if name == topics.DECISIONS.name:
            board.decided(record.value(), _latency(record.value()), time.monotonic())
        elif name == topics.OUTCOMES.name:
            board.outcomes += 1
        elif name == topics.DRIFT.name:
            try:
                board.drifted(decode_drift(record.value()))
            except InvalidEvent:
                return
        else:
            board.retraining.append((record.key() or b"").decode("utf-8", "replace"))


class _Timed(msgspec.Struct):
    latency_ms: float


def _latency(raw: bytes) -> float | None:
    try:
        return msgspec.json.decode(raw, type=_Timed).latency_ms
    except UNREADABLE:
        return None
