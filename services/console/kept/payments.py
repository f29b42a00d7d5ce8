"""The payment behind a decision: its amount and entities, from the newest records of `features`.

A decision on Kafka names neither; it names the offset of its transaction, which the columns of `features` have too. A few seconds of
records are kept as they came, and decoded without their vectors when a decision that is not approved asks for one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from streams.contracts.invalid_event import UNREADABLE
from streams.log.feature_batch import BatchColumns

#: records kept of one partition, and their bytes: at 10,000 a second those of about half a minute
MAX_RECORDS, MAX_BYTES = 5_000, 64 * 2**20
#: records of one partition kept decoded: decisions come in the order of their payments, so few are asked for again
MAX_DECODED = 300

_USED: dict[str, Any] = {
    "merchant_id": Sequence[str], "amount_minor": Sequence[int], "currency": Sequence[str],
    "customer_id": Sequence[str | None], "device_id": Sequence[str | None], "ip": Sequence[str | None],
    "channel": Sequence[str | None], "country": Sequence[str | None], "offset": Sequence[int],
}  # fmt: skip
_ALL = BatchColumns.__struct_fields__
_Columns: Any = msgspec.defstruct(
    "_Columns",
    [(name, _USED.get(name, msgspec.Raw)) for name in _ALL[: _ALL.index("offset") + 1]],
    array_like=True,
    frozen=True,
    gc=False,
)


class _Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    catalogue: msgspec.Raw
    partition: msgspec.Raw
    event_ms: msgspec.Raw
    vectors: msgspec.Raw
    as_of: msgspec.Raw
    columns: _Columns


_decoder = msgspec.msgpack.Decoder(_Record)


class Payment(NamedTuple):
    """What the console keeps of a payment. ``amount_minor``: minor units of ``currency``."""

    amount_minor: int
    currency: str
    merchant_id: str
    device_id: str | None
    ip: str | None
    customer_id: str | None
    channel: str | None
    country: str | None


class Payments:
    """The newest records of each partition of `features`."""

    def __init__(self) -> None:
        self._raw: dict[int, deque[bytes]] = {}
        self._bytes: dict[int, int] = {}
        #: decoded from the front of ``_raw`` on; the first offset of each, ascending
        self._decoded: dict[int, list[tuple[int, Any]]] = {}

    def add(self, partition: int, value: bytes | None) -> None:
        """Keep a record's value."""
        if not value:
            return
        raw = self._raw.setdefault(partition, deque())
        raw.append(value)
        self._bytes[partition] = self._bytes.get(partition, 0) + len(value)
        while len(raw) > MAX_RECORDS or self._bytes[partition] > MAX_BYTES:
            self._bytes[partition] -= len(raw.popleft())

    def find(self, partition: int, offset: int) -> Payment | None:
        """The payment at this offset of `transactions`; None if its features are not here, or not yet."""
        decoded = self._decoded.setdefault(partition, [])
        raw = self._raw.get(partition)
        # records come in the order of their offsets: decode only as far as is asked
        while raw and (not decoded or decoded[-1][1].offset[-1] < offset):
            value = raw.popleft()
            self._bytes[partition] -= len(value)
            columns = _columns(value)
            if columns is not None:
                decoded.append((columns.offset[0], columns))
        del decoded[:-MAX_DECODED]
        place = bisect_right(decoded, offset, key=lambda one: one[0]) - 1
        if place < 0:
            return None
        columns = decoded[place][1]
        row = bisect_right(columns.offset, offset) - 1
        if columns.offset[row] != offset:
            return None
        return Payment(*(getattr(columns, name)[row] for name in Payment._fields))


def _columns(value: bytes) -> Any:
    """The columns of a record; None if it is none: whoever may produce can write there, and scoring says so."""
    try:
        columns = _decoder.decode(value).columns
    except UNREADABLE:
        return None
    n = len(columns.offset)
    fits = n and all(len(getattr(columns, name)) == n for name in _USED)
    return columns if fits else None
