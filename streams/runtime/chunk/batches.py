"""Record batches as a chunk worker reads them: a batch that nobody can read does not stop the fetch.

aiokafka raises out of the fetch, again and again, where a header's name is not UTF-8 or a batch does not decompress, and it holds in
memory whatever a batch decompresses to: a megabyte of Zstandard can hold gigabytes. Here such a batch is read by a parser of our own,
and what nobody can read becomes a record marked with UNREADABLE, which the consumer sets aside.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import cramjam
from aiokafka.codec import snappy_decode
from aiokafka.record.memory_records import MemoryRecords

from streams.contracts.invalid_event import InvalidEvent
from streams.runtime.dead_letters import MAX_ORIGINAL_BYTES

#: largest batch, decompressed, and most that one fetch brings of a partition. Batches have a megabyte at most as they are sent
MAX_BATCH_BYTES = 64 << 20
#: largest value of a record: what Kafka allows one that is not compressed
MAX_VALUE_BYTES = 1 << 20
#: marks a record that nobody can read; compared by identity, so that no producer can send it
UNREADABLE = "".join(("un", "readable"))

_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
#: how much a byte can decompress to at most; Zstandard knows no bound
_MOST_PER_BYTE = {0: 1, _GZIP: 1032, _SNAPPY: 22, _LZ4: 255}
#: base offset, length; where attributes and the records begin
_LENGTH = struct.Struct(">i")
_OVERHEAD, _HEADER = 12, 61


class RawRecord(NamedTuple):
    """A record with the fields that a ``FetchedRecord`` takes over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def why_unreadable(record: Any) -> InvalidEvent | None:
    """Why a consumed record cannot be read; None for all others."""
    headers = record.headers
    if headers and headers[0][0] is UNREADABLE:
        return InvalidEvent("unreadable", "", headers[0][1].decode())
    return None


class BoundedRecords:
    """In place of aiokafka's MemoryRecords: the batches of one partition from one fetch, up to MAX_BATCH_BYTES decompressed."""

    def __init__(self, fetched: bytes) -> None:
        self._records = MemoryRecords(fetched)
        self._fetched = memoryview(fetched)
        self._next = 0
        self._taken = 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        # what is left is fetched again, with the position that was reached
        return self._taken < MAX_BATCH_BYTES and self._records.has_next()

    def next_batch(self) -> Any:
        start = self._next
        self._next = start + _OVERHEAD + _LENGTH.unpack_from(self._fetched, start + 8)[0]
        return _Batch(self._records.next_batch(), self._fetched[start : self._next], self._take)

    def _take(self, count: int) -> None:
        self._taken += count


class _Batch:
    """A batch of aiokafka's, whose records can always be iterated over."""

    def __init__(self, batch: Any, raw: memoryview, take: Any) -> None:
        self._batch, self._raw, self._take = batch, raw, take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        batch = self._batch
        payload = self._raw[_HEADER:]
        try:
            if len(payload) * _MOST_PER_BYTE.get(batch.compression_type, MAX_BATCH_BYTES) > MAX_BATCH_BYTES:
                decompressed(batch.compression_type, payload)
        except Exception as error:  # noqa: BLE001 - whatever a codec makes of bytes of others, the fetch goes on
            return self._unreadable(error)
        try:
            records = list(batch)
        except Exception:  # noqa: BLE001 - as above
            return self._looked_at(payload)
        sizes = [len(record.value or b"") for record in records]
        self._take(sum(sizes))
        return map(_bounded, records) if max(sizes, default=0) > MAX_VALUE_BYTES else iter(records)

    def _looked_at(self, payload: memoryview) -> Iterator[Any]:
        """The records read by a parser of our own; all marked as unreadable where it cannot read them either."""
        batch = self._batch
        try:
            plain = decompressed(batch.compression_type, payload)
            count = _LENGTH.unpack_from(self._raw, _HEADER - 4)[0]
            times = (batch.timestamp_type, batch.first_timestamp, batch.max_timestamp)
            records = parsed(memoryview(plain), count, batch.base_offset, times)
        except Exception as error:  # noqa: BLE001 - as above
            return self._unreadable(error)
        self._take(len(plain))
        return map(_bounded, records)

    def _unreadable(self, error: Exception) -> Iterator[RawRecord]:
        batch = self._batch
        # the fetch ends with this batch: finding out took tens of milliseconds, in the thread that says that this worker lives
        self._take(MAX_BATCH_BYTES)
        text = f"its batch of {len(self._raw)} bytes cannot be read: {type(error).__name__}: {error}"
        places = range(batch.base_offset, batch.next_offset)
        return (_unreadable(place, batch.max_timestamp, None, text) for place in places)


def decompressed(codec: int, payload: memoryview) -> bytes | memoryview:
    """The records' bytes of a batch.

    Raises:
        ValueError: they are more than MAX_BATCH_BYTES. What a codec raises for bytes that are not its own, or too many.
    """
    if codec == 0:
        return payload
    if codec == _SNAPPY:
        # at most 22 bytes from each: a batch of a megabyte stays below the bound
        return bytes(snappy_decode(payload.tobytes()))
    if codec == _GZIP:
        plain: bytes = gzip.GzipFile(fileobj=io.BytesIO(payload)).read(MAX_BATCH_BYTES + 1)
        if len(plain) > MAX_BATCH_BYTES:
            raise ValueError(f"more than {MAX_BATCH_BYTES} bytes when decompressed")
        return plain
    into = cramjam.lz4.decompress_into if codec == _LZ4 else cramjam.zstd.decompress_into
    # only what is written of it takes memory
    room = bytearray(MAX_BATCH_BYTES)
    return memoryview(room)[: into(payload.tobytes(), room)]


def parsed(plain: memoryview, count: int, base_offset: int, times: tuple[int, int, int]) -> list[RawRecord]:
    """The records of a batch; one with a header whose name is not UTF-8 has no headers, as for librdkafka's readers.

    Args:
        times: the batch's timestamp type (1: by the broker), first and largest time, ms.

    Raises:
        ValueError, IndexError: the bytes are not ``count`` records.
    """
    kind, first_ms, max_ms = times
    out, at = [], 0
    for _ in range(count):
        length, at = _varint(plain, at)
        end = at + length
        if length < 0 or end > len(plain):
            raise ValueError("a record is longer than its batch")
        delta_ms, at = _varint(plain, at + 1)
        delta, at = _varint(plain, at)
        key, at = _bytes(plain, at)
        value, at = _bytes(plain, at)
        headers, at = _headers(plain, at)
        if at != end:
            raise ValueError("a record has another length than it says")
        moment = max_ms if kind else first_ms + delta_ms
        out.append(RawRecord(base_offset + delta, moment, key, value, headers))
    return out


def _headers(plain: memoryview, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = _varint(plain, at)
    found: list[tuple[bytes, bytes | None]] = []
    for _ in range(count):
        name, at = _bytes(plain, at)
        value, at = _bytes(plain, at)
        found.append((name or b"", value))
    try:
        return [(name.decode(), value) for name, value in found], at
    except UnicodeDecodeError:
        return [], at


def _bytes(plain: memoryview, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(plain, at)
    if size < 0:
        return None, at
    if at + size > len(plain):
        raise ValueError("a field is longer than its batch")
    return bytes(plain[at : at + size]), at + size


def _varint(plain: memoryview, at: int) -> tuple[int, int]:
    """A zigzag number of at most ten bytes, and where the next field begins."""
    number = 0
    for shift in range(0, 70, 7):
        byte = plain[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at
    raise ValueError("a number has more than ten bytes")


def _bounded(record: Any) -> Any:
    value = record.value
    if value is None or len(value) <= MAX_VALUE_BYTES:
        return record
    text = f"the value has {len(value)} bytes, more than {MAX_VALUE_BYTES} (SHA-256 {hashlib.sha256(value).hexdigest()})"
    return _unreadable(record.offset, record.timestamp, value[:MAX_ORIGINAL_BYTES], text)


def _unreadable(offset: int, timestamp: int, value: bytes | None, text: str) -> RawRecord:
    return RawRecord(offset, timestamp, None, value, [(UNREADABLE, text.encode("utf-8", "replace"))])
