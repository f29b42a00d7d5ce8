"""aiokafka's fetcher yields light records with the same content, and resumes where it stopped."""

from __future__ import annotations

from types import SimpleNamespace

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.runtime.chunk.fetched_record import FetchedRecord, FetchedRecords

PLACE = TopicPartition("decisions", 3)


def _records(count: int, first: int) -> FetchedRecords:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    for i in range(count):
        builder.append(i, 1_700_000_000_000 + i, b"card-%d" % i, b"%d" % i, [("source", b"%d" % i)])
    return FetchedRecords(
        PLACE, MemoryRecords(bytes(builder.build())), [], first, None, None, True, READ_COMMITTED
    )


def test_content_and_offset_after_the_last() -> None:
    records = _records(3, first=1)
    assert list(records) == [
        FetchedRecord("decisions", 3, i, 1_700_000_000_000 + i, b"card-%d" % i, b"%d" % i, [("source", b"%d" % i)])
        for i in (1, 2)
    ]  # fmt: skip
    assert records.next_fetch_offset == 3


def test_a_fetch_that_is_taken_in_parts_goes_on() -> None:
    position = SimpleNamespace(paused=False, position=0)
    position.consumed_to = lambda offset: setattr(position, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: position)
    result = FetchResult(PLACE, assignment=assignment, partition_records=_records(5, first=0), backoff=0)
    taken = [[record.offset for record in result.getall(max_records=2)] for _ in range(3)]
    assert taken == [[0, 1], [2, 3], [4]]
    assert position.position == 5
