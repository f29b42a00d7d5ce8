"""Two versions of the state in one process: a store seen by the other version, where 1 stands for 2 and 2 for 1.

Code has one version. A worker that works through the mirror reads and writes, as version 1, what is version 2 in the store
behind it, and finds that store's version 1 as another one, 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.store.keys import GROUP, position_key
from features.store.partition_lease import TopicPartition
from features.store.redis_client import Command
from features.store.state_versions import SERVING_KEY, VERSIONS_KEY
from streams.runtime.kafka.log_reader import Span
from streams.state.rebuild import EntityBuilder
from tests.support.parity_world import MemoryLog, MemoryRedis, plain, rows_of, stretch_of
from tests.support.rebuilt_store import builder_of

_NUMBERS = {b"1": b"2", b"2": b"1"}
#: what keys of a version begin with
_KEY = re.compile(rb"^(\{[te]\d+\}v|tollgate:state:v)([12])(?=:)")


def _mirrored(part: Any) -> Any:
    if isinstance(part, bytes):
        return _KEY.sub(lambda found: found[1] + _NUMBERS[found[2]], part)
    return _mirrored(part.encode()).decode() if isinstance(part, str) else part


class Mirror(MemoryRedis):
    """The same store, seen by the other version."""

    def __init__(self, behind: MemoryRedis) -> None:
        super().__init__()
        self._behind = behind

    def call(self, commands: Sequence[Command]) -> list[Any]:
        self._behind.crash_next, self.crash_next = self.crash_next, False
        sent: list[Command] = []
        for command in plain(commands):
            whole = tuple(_mirrored(part) for part in command)
            if command[0] in ("SET", "SADD", "SREM") and command[1] in (SERVING_KEY, VERSIONS_KEY):
                whole = (*command[:2], _NUMBERS[str(command[2]).encode()].decode())
            sent.append(whole)
        replies = self._behind.call(sent)
        for place, command in enumerate(sent):
            if command[0] == "SMEMBERS":
                replies[place] = [_NUMBERS[number] for number in replies[place]]
            if command[:2] == ("GET", SERVING_KEY) and replies[place]:
                replies[place] = _NUMBERS[replies[place]]
        return replies


class Message:
    """A record of the log as the broker's client gives it."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def topic(self) -> str:
        return str(self._record.topic)

    def partition(self) -> int:
        return int(self._record.partition)

    def offset(self) -> int:
        return int(self._record.offset)

    def timestamp(self) -> tuple[int, int]:
        return 1, self._record.timestamp

    def value(self) -> bytes | None:
        return self._record.value  # type: ignore[no-any-return]

    def headers(self) -> Any:
        return self._record.headers


def reading(log: MemoryLog) -> Callable[..., int]:
    """``read_span`` of a log in memory."""

    def read_span(
        _address: str, start: Span, end: Span, handle: Callable[[list[Any]], None], **_: Any
    ) -> int:
        count = 0
        for topic, ends in end.items():
            records = [
                Message(r) for p, last in ends.items() for r in log.topics[topic, p][start[topic][p] : last]
            ]
            # in two pieces, so that chunks follow each other
            for part in (records[: len(records) // 2], records[len(records) // 2 :]):
                if part:
                    handle(part)
            count += len(records)
        return count

    return read_span


def prepare(store: MemoryRedis, log: MemoryLog, ends: Mapping[TopicPartition, int]) -> None:
    """As ``tollgate features prepare``: the version that a store shows as ours, made from the log by the builders of rebuilds."""
    for (topic, partition), end in ends.items():
        builder = builder_of(topic, partition)
        applied = log.topics.get((topic, partition), [])[:end]
        if isinstance(builder, EntityBuilder):
            builder.add(rows_of(applied, partition))
        else:
            builder.add(stretch_of(applied, partition))
        store.call([written.command for written in builder.writes()])
        if isinstance(builder, EntityBuilder):
            store.call([*builder.said(), *builder.applied_writes()])
        store.call([("SET", position_key(topic, partition, GROUP), end)])
