"""A batch, the record of `features`: the transactions of one chunk and partition with their features, in columns.

All rows of a batch come from one partition of `transactions`, in offset order, and have one catalogue. The record is MessagePack
(msgspec): a list for each column, and one block of float32 for all vectors (decision 17). Never pickle (invariant 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from operator import itemgetter, lt
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Meta
from msgspec.structs import astuple

from features.attributes import MAX_ATTRIBUTES
from features.transaction import AmountMinor, Channel, Identifier, Instant, Transaction
from streams.contracts.invalid_event import UNREADABLE

#: largest record; a larger batch becomes several records. Base64 in a dead letter adds a third, and the result must stay below
#: Kafka's limit of 1 MB
MAX_ROWS, MAX_BYTES = 512, 500_000
#: values that fit columns of 64 and 32 bits
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bits = Annotated[int, Meta(ge=0, le=2**31 - 1)]


#: a row's attributes by name: texts and numbers
Attributes = Annotated[dict[str, str | int | float], Meta(max_length=MAX_ATTRIBUTES)]


class FeatureBatchError(ValueError):
    """A record's value is not a batch of features, or its columns do not match."""


class BatchColumns(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The columns of n rows other than vectors. The transaction's fields come first, with its types and in its order, without its
    attributes, which come last: most batches have none."""

    transaction_id: Sequence[Identifier]
    event_time: Sequence[Instant]
    card_id: Sequence[Identifier]
    merchant_id: Sequence[Identifier]
    amount_minor: Sequence[AmountMinor]
    currency: Sequence[Annotated[str, Meta(min_length=3, max_length=3)]]
    customer_id: Sequence[Identifier | None]
    device_id: Sequence[Identifier | None]
    ip: Sequence[Annotated[str, Meta(max_length=45)] | None]
    mcc: Sequence[Annotated[str, Meta(max_length=4)] | None]
    channel: Sequence[Channel | None]
    country: Sequence[Annotated[str, Meta(min_length=2, max_length=2)] | None]
    latitude: Sequence[Annotated[float, Meta(ge=-90, le=90)] | None]
    longitude: Sequence[Annotated[float, Meta(ge=-180, le=180)] | None]
    tenant: Sequence[Identifier]
    #: offsets on `transactions`, ascending
    offset: Sequence[Annotated[int, Meta(ge=0, le=2**63 - 1)]]
    appended_ms: Sequence[Int]
    deadline_ms: Sequence[Int]
    #: bits ``MISSING_*`` of ``streams.log.records``
    missing: Sequence[Bits]
    #: milliseconds behind its card's newest payment, if more than LATE_BOUND_S; else 0
    late_ms: Sequence[Int]
    #: the HTTP edge's decision as JSON, for rows that it decided; None: it decided no row
    decided: Sequence[bytes | None] | None = None
    trace: Sequence[str | None] | None = None
    attributes: Sequence[Attributes | None] | None = None


#: number of columns before ``offset``: the transaction's fields but its attributes
FIELDS = len(Transaction.__struct_fields__) - 1
#: number of columns of ``as_of``: card, merchant, device, ip, customer, frauds of the card
STATES = 6


class FeatureRecord(msgspec.Struct, frozen=True):
    """One row, for callers that need few rows. ``vector``: little-endian float32 in the catalogue's order, NaN: unknown.

    ``as_of`` identifies the state that the features were made from. Card: last applied offset of its `transactions` partition;
    merchant, device, ip, customer: last offset of `entities` applied to the profile (-1: none). ``frauds_as_of``: the same for the
    card's frauds, on `entities`.
    """

    catalogue: str
    partition: int
    offset: int
    appended_ms: int
    deadline_ms: int
    missing: int
    transaction: Transaction
    event_ms: int
    vector: bytes
    as_of: tuple[int, int, int, int, int]
    decided: bytes | None = None
    trace: str | None = None
    frauds_as_of: int = -1
    late_ms: int = 0


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """n rows, n at least 1. A slice, ``batch[first:end]``, is a view on the same vectors."""

    catalogue: str
    partition: int
    #: event times in whole milliseconds since 1970
    event_ms: Sequence[int]
    #: float32 (n, entries of the catalogue), NaN: unknown
    vectors: npt.NDArray[np.float32]
    #: int64 (n, STATES): see ``FeatureRecord``
    as_of: npt.NDArray[np.int64]
    columns: BatchColumns

    def __len__(self) -> int:
        return len(self.event_ms)

    def __getitem__(self, part: slice) -> FeatureBatch:
        return self._picked(part, itemgetter(part))

    def take(self, rows: Sequence[int]) -> FeatureBatch:
        """The rows at these indices, which must ascend."""
        return self._picked(rows, lambda column: [column[row] for row in rows])

    def _picked(self, which: Any, pick: Callable[[Any], Any]) -> FeatureBatch:
        columns = BatchColumns(*(column and pick(column) for column in astuple(self.columns)))
        return FeatureBatch(
            self.catalogue,
            self.partition,
            pick(self.event_ms),
            self.vectors[which],
            self.as_of[which],
            columns,
        )

    def transactions(self) -> list[Transaction]:
        """The rows' transactions."""
        fields, attributes = astuple(self.columns)[:FIELDS], self.columns.attributes
        if attributes is None:
            return list(map(_Transaction, *fields))
        return list(map(_Transaction, *fields, [UNSET if each is None else each for each in attributes]))

    def records(self) -> list[FeatureRecord]:
        """The rows one by one."""
        n, columns, as_of = len(self), self.columns, self.as_of.tolist()
        rows = (
            repeat(self.catalogue), repeat(self.partition), columns.offset, columns.appended_ms, columns.deadline_ms,
            columns.missing, self.transactions(), self.event_ms, [vector.tobytes() for vector in self.vectors],
            [tuple(states[:-1]) for states in as_of], columns.decided or [None] * n, columns.trace or [None] * n,
            [states[-1] for states in as_of], columns.late_ms,
        )  # fmt: skip
        return list(map(FeatureRecord, *rows))


# takes its fields positionally, for a third of the cost; otherwise equal to Transaction
_Transaction: Any = msgspec.defstruct(
    "Transaction",
    [(f.name, f.type) if f.required else (f.name, f.type, f.default) for f in msgspec.structs.fields(Transaction)],
    bases=(Transaction,),
    frozen=True,
    kw_only=False,
)  # fmt: skip


class _Head(msgspec.Struct, array_like=True, frozen=True):
    catalogue: str
    partition: int
    event_ms: Sequence[Int]
    #: memoryview when encoded, bytes when decoded
    vectors: bytes


class _Wire(_Head, array_like=True, frozen=True):
    as_of: bytes
    columns: BatchColumns


#: columns that are passed over unread, and those that are read
_UNTIL = BatchColumns.__struct_fields__[: BatchColumns.__struct_fields__.index("deadline_ms") + 1]
_READ: dict[str, Any] = {"card_id": Sequence[str], "deadline_ms": Sequence[Int]}
_Waited: Any = msgspec.defstruct(
    "_Waited", [(name, _READ.get(name, msgspec.Raw)) for name in _UNTIL], array_like=True, frozen=True
)


class _WaitedWire(_Head, array_like=True, frozen=True):
    as_of: msgspec.Raw
    columns: _Waited


def _with_own(name: str) -> Any:
    """A column of a batch whose attributes are read too."""
    if name == "attributes":
        return name, Sequence[Attributes | None] | None, None
    kind = _READ.get(name, msgspec.Raw)
    return (name, kind) if name in BatchColumns.__struct_fields__[:_REQUIRED] else (name, kind | None, None)


_REQUIRED = len(BatchColumns.__struct_fields__) - len(BatchColumns.__struct_defaults__)
_OwnColumns: Any = msgspec.defstruct(
    "_OwnColumns", [_with_own(name) for name in BatchColumns.__struct_fields__], array_like=True, frozen=True
)


class _OwnWire(_Head, array_like=True, frozen=True):
    as_of: msgspec.Raw
    columns: _OwnColumns


class Vectors(NamedTuple):
    """A batch without most of its columns: event times (n,), vectors (n, entries of the catalogue), cards (n,), and which rows have a
    deadline (n,): nobody waits for the others, which are a backlog or a replay. ``attributes``: (n,) if they were asked for and a row
    has some, else empty."""

    catalogue: str
    event_ms: Sequence[int]
    vectors: npt.NDArray[np.float32]
    card_ids: Sequence[str]
    waited_for: npt.NDArray[np.bool_]
    attributes: Sequence[dict[str, Any] | None] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_vectors_decoder = msgspec.msgpack.Decoder(_WaitedWire)
_own_decoder = msgspec.msgpack.Decoder(_OwnWire)


def encode_batch(batch: FeatureBatch) -> list[bytes]:
    """Values for `features`, to be produced in this order: one, or several if one would be too large."""
    n = len(batch)
    if n <= MAX_ROWS:
        # what is in memory goes out as it lies there
        vectors, as_of = (np.ascontiguousarray(block).data for block in (batch.vectors, batch.as_of))
        parts = (batch.catalogue, batch.partition, batch.event_ms, vectors, as_of, batch.columns)
        value = _encoder.encode(parts)
        if n == 1 or len(value) <= MAX_BYTES:
            return [value]
    return [*encode_batch(batch[: n // 2]), *encode_batch(batch[n // 2 :])]


def decode_batch(value: bytes | None, partition: int) -> FeatureBatch:
    """The batch in a record's value; ``partition``: the record's partition of `features`.

    Raises:
        FeatureBatchError: not a batch, or another partition, or columns of different length, or offsets that do not ascend.
    """
    wire: _Wire = _decoded(_decoder, value)
    vectors = _vectors(wire, partition)
    n, offsets = len(vectors), wire.columns.offset
    if set(map(len, filter(_is_there, astuple(wire.columns)))) != {n} or len(wire.as_of) != 8 * STATES * n:
        raise FeatureBatchError(f"its columns have other lengths than its {n} vectors")
    if not all(map(lt, offsets, islice(offsets, 1, None))):
        raise FeatureBatchError("its offsets do not ascend")
    as_of = np.frombuffer(wire.as_of, "<i8").reshape(n, STATES)
    return FeatureBatch(wire.catalogue, partition, wire.event_ms, vectors, as_of, wire.columns)


def decode_vectors(value: bytes | None, partition: int, *, attributes: bool = False) -> Vectors:
    """``decode_batch`` without most columns, for a tenth of the cost; with ``attributes`` if they are wanted. Raises: FeatureBatchError."""
    wire: Any = _decoded(_own_decoder if attributes else _vectors_decoder, value)
    vectors, cards, deadline_ms = _vectors(wire, partition), wire.columns.card_id, wire.columns.deadline_ms
    if not len(cards) == len(deadline_ms) == len(vectors):
        raise FeatureBatchError(
            f"it has {len(cards)} cards and {len(deadline_ms)} deadlines for {len(vectors)} rows"
        )
    own = (wire.columns.attributes or ()) if attributes else ()
    if own and len(own) != len(vectors):
        raise FeatureBatchError(f"it has attributes of {len(own)} rows for {len(vectors)} rows")
    return Vectors(wire.catalogue, wire.event_ms, vectors, cards, np.array(deadline_ms) > 0, own)


def _is_there(column: Any) -> bool:
    return column is not None


def _decoded(decoder: Any, value: bytes | None) -> Any:
    if value is None:
        raise FeatureBatchError("it has no value")
    try:
        return decoder.decode(value)
    except UNREADABLE as error:
        raise FeatureBatchError(str(error)) from error


def _vectors(head: _Head, partition: int) -> npt.NDArray[np.float32]:
    """Raises: FeatureBatchError."""
    if head.partition != partition:
        raise FeatureBatchError(f"it says partition {head.partition} and lies on {partition}")
    n = len(head.event_ms)
    if not n or len(head.vectors) % (4 * n):
        raise FeatureBatchError(f"{len(head.vectors)} bytes are no vectors of equal width for {n} rows")
    return np.frombuffer(head.vectors, "<f4").reshape(n, -1)
