"""A labels worker on a log and a store in memory, which can crash between acknowledgement and EXEC."""

from __future__ import annotations

from typing import Any

from faust.types import TP

from features.store.partition_lease import Leases
from streams.contracts.tenants import ANY_TENANT
from streams.labels.sent_outcomes import keys_of
from streams.labels.stage import LabelsStage
from streams.log.offsets.log_marks import LogMarks
from streams.runtime.chunk.chunk import Chunk
from tests.support.edge_keys import KEYS
from tests.support.parity_world import PARTITIONS, Crash, MemoryLog, MemoryRedis


class LabelsWorker:
    """One labels worker on a log and a store in memory."""

    topics = ("labels", "decisions")

    def __init__(self, log: MemoryLog, redis: MemoryRedis) -> None:
        self._log, self._redis = log, redis
        self.start()

    def start(self) -> None:
        client: Any = self._redis
        producer: Any = self._log
        leases = Leases(client, "labels")
        marks = LogMarks("", client, "labels")
        self._stage = LabelsStage(PARTITIONS, client, producer, leases, KEYS, ANY_TENANT, marks)
        said = [
            record.value for p in range(PARTITIONS) for record in self._log.topics.get(("outcomes", p), [])
        ]
        self._next = leases.lease([(topic, p) for topic in self.topics for p in range(PARTITIONS)])
        self._stage.remember(keys_of(said), range(PARTITIONS))

    def step(self, topic: str, most: int, *, crash: bool = False) -> None:
        records: list[Any] = []
        positions: dict[TP, int] = {}
        for partition in range(PARTITIONS):
            first = self._next[(topic, partition)]
            fetched = self._log.topics.get((topic, partition), [])[first : first + most]
            if fetched:
                records += fetched
                positions[TP(topic, partition)] = first + len(fetched)
        if not records:
            return
        self._redis.crash_next = crash
        try:
            self._stage.handle(Chunk(topic, records, positions))
        except Crash:
            self.start()
            return
        self._next.update({(tp.topic, tp.partition): offset for tp, offset in positions.items()})

    def behind(self) -> bool:
        return any(len(self._log.topics.get(place, [])) > done for place, done in self._next.items())
