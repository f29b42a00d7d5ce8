"""A record of `features`: the transactions of one chunk and partition with their features, in columns.

All rows of a batch are of one partition of `transactions`, in the order of their offsets there, and of one catalogue. On the
topic a batch is MessagePack (msgspec): a list for each column, and one block of float32 for all vectors (decision 17). Never
pickle (invariant 8).
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
from msgspec import Meta
from msgspec.structs import astuple

from features.transaction import AmountMinor, Channel, Identifier, Instant, Transaction

#: a record has no more rows and bytes than this; more become several records. Base64 in a dead letter makes a third more
#: of it, and that must stay below Kafka's own limit of 1 MB
MAX_ROWS, MAX_BYTES = 512, 500_000
#: what columns of 32 and 64 bits hold
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bits = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class FeatureBatchError(ValueError):
    """The value of a record is no batch of features, or one whose columns do not belong together."""


class BatchColumns(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What n rows have beside their vectors. First the transaction's fields, with its types and in its order."""

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
    #: of `transactions`, ascending
    offset: Sequence[Annotated[int, Meta(ge=0, le=2**63 - 1)]]
    appended_ms: Sequence[Int]
    deadline_ms: Sequence[Int]
    #: bits of ``streams.log.records``
    missing: Sequence[Bits]
    #: how far behind its card's newest payment it came, where that is more than LATE_BOUND_S; else 0
    late_ms: Sequence[Int]
    #: the HTTP edge's decision as JSON, where it has decided already; None: nowhere
    decided: Sequence[bytes | None] | None = None
    trace: Sequence[str | None] | None = None


#: how many of the columns are the transaction's
FIELDS = len(Transaction.__struct_fields__)
#: columns of ``as_of``: the card's state, those of merchant, device, ip and customer, and the card's frauds
STATES = 6


class FeatureRecord(msgspec.Struct, frozen=True):
    """One row, for who looks at few of them. ``vector``: little-endian float32 in the catalogue's order, NaN: unknown.

    ``as_of`` says which state the features were made from: of the card the last applied offset of its `transactions` partition, of
    merchant, device, ip and customer the offset of `entities` last applied to that profile (-1: nothing known); ``frauds_as_of``
    the same for the card's frauds, which are on `entities` too.
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
    """n rows, n at least 1. A part of them, ``batch[first:end]``, looks at the same vectors."""

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
        """The rows at some places, which ascend."""
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
        return list(map(_Transaction, *astuple(self.columns)[:FIELDS]))

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


# one that takes its fields in their order, for a third of the cost; by name, look and equality the same
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
    #: memory on the way out, bytes on the way in
    vectors: bytes


class _Wire(_Head, array_like=True, frozen=True):
    as_of: bytes
    columns: BatchColumns


class Vectors(NamedTuple):
    """A batch without its columns: event times (n,) and vectors (n, entries of the catalogue)."""

    catalogue: str
    event_ms: Sequence[int]
    vectors: npt.NDArray[np.float32]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode_batch(batch: FeatureBatch) -> list[bytes]:
    """Values for `features`, to be produced in this order: one, or more where one would be too large."""
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
    """The batch in a record's value; ``partition``: the one of `features` that it lies on.

    Raises:
        FeatureBatchError: it is none, or of another partition, or its columns differ in length, or its offsets do not ascend.
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


def decode_vectors(value: bytes | None, partition: int) -> Vectors:
    """As ``decode_batch``, for who needs no columns: a tenth of the cost. Raises: FeatureBatchError."""
    head: _Head = _decoded(_head_decoder, value)
    return Vectors(head.catalogue, head.event_ms, _vectors(head, partition))


def _is_there(column: Any) -> bool:
    return column is not None


def _decoded(decoder: Any, value: bytes | None) -> Any:
    if value is None:
        raise FeatureBatchError("it has no value")
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FeatureBatchError(str(error)) from error


def _vectors(head: _Head, partition: int) -> npt.NDArray[np.float32]:
    """Raises: FeatureBatchError."""
    if head.partition != partition:
        raise FeatureBatchError(f"it says partition {head.partition} and lies on {partition}")
    n = len(head.event_ms)
    if not n or len(head.vectors) % (4 * n):
        raise FeatureBatchError(f"{len(head.vectors)} bytes are no vectors of equal width for {n} rows")
    return np.frombuffer(head.vectors, "<f4").reshape(n, -1)
