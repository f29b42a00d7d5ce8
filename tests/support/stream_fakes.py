"""What the stream worker meets of Kafka, in memory: messages, a producer, an assignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from services.scoring.stream import worker as stream
from services.scoring.stream.worker import StreamScorer
from streams.log.offsets.source_offsets import DecidedRows
from streams.log.records import HEADER_ENTITIES, HEADER_NOBODY_WAITS, HEADER_SOURCE_OFFSET
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter


class Message:
    """A consumed message, with methods as confluent's."""

    def __init__(self, offset: int, value: bytes | None, partition: int = 0) -> None:
        self._fields: dict[str, Any] = {
            "topic": "features",
            "partition": partition,
            "offset": offset,
            "value": value,
            "error": None,
        }

    def topic(self) -> Any:
        return self._fields["topic"]

    def partition(self) -> Any:
        return self._fields["partition"]

    def offset(self) -> Any:
        return self._fields["offset"]

    def value(self) -> Any:
        return self._fields["value"]

    def error(self) -> Any:
        return self._fields["error"]


class Producer:
    """Keeps what is produced; ``before`` runs before each record."""

    def __init__(self) -> None:
        self.decided: list[tuple[int, int]] = []
        self.decisions: list[bytes] = []
        self.entities: list[bytes] = []
        self.nobody_waits: list[bool] = []
        self.letters: list[DeadLetter] = []
        self.before: Callable[[], None] = lambda: None

    def produce(self, topic: str, **record: Any) -> None:
        self.before()
        if topic == "dead-letters":
            self.letters.append(decode_dead_letter(record["value"]))
        else:
            headers = dict(record["headers"])
            self.decided.append((record["partition"], int(headers[HEADER_SOURCE_OFFSET])))
            self.entities.append(headers[HEADER_ENTITIES])
            self.nobody_waits.append(HEADER_NOBODY_WAITS in record["headers"])
            self.decisions.append(record["value"])

    def flush(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        pass


def assign(worker: StreamScorer, decided: Mapping[int, int]) -> None:
    """Partitions come to the worker as the group assigns them; ``decided``: the last source offset on each one's `decisions`, or -1."""
    consumer: Any = SimpleNamespace(assign=lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "decided_rows", lambda _, partition: DecidedRows({}, decided[partition], 2**62))
        worker._assigned(consumer, [TopicPartition("features", partition) for partition in decided])
