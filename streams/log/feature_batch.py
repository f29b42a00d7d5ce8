"""A record of `features`: the transactions of one chunk and partition with their features, in columns.

All rows of a batch are of one partition of `transactions`, in the order of their offsets there, and of one catalogue. On the
topic a batch is MessagePack (msgspec): texts as lists, numbers as the bytes of an array, vectors as one block of float32
(decision 17). Never pickle (invariant 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta
from msgspec.structs import astuple

from features.transaction import Channel, Identifier, Transaction

#: a record has no more rows and bytes than this; more become several records. Base64 in a dead letter makes a third more
#: of it, and that must stay below Kafka's own limit of 1 MB
MAX_ROWS, MAX_BYTES = 512, 500_000

#: what a row has in numbers. Times since 1970; NaN: no place given. ``as_of`` says which state the features were made from:
#: of the card the last applied offset of its `transactions` partition, of merchant, device, ip and customer the offset of
#: `entities` last applied to that profile (-1: nothing known); ``frauds_as_of`` the same for the card's frauds, which are on
#: `entities` too. ``missing``: bits of ``streams.log.records``. ``late_ms``: how far behind its card's newest payment it
#: came, where that is more than LATE_BOUND_S; else 0
NUMBERS = np.dtype(
    [
        ("offset", "<i8"), ("appended_ms", "<i8"), ("event_us", "<i8"), ("amount_minor", "<i8"), ("latitude", "<f8"),
        ("longitude", "<f8"), ("as_of", "<i8", (5,)), ("frauds_as_of", "<i8"), ("late_ms", "<i8"), ("deadline_ms", "<i4"),
        ("missing", "<i4"),
    ],
    align=True,
)  # fmt: skip


class FeatureBatchError(ValueError):
    """The value of a record is no batch of features, or one whose columns do not belong together."""


class Texts(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The transactions' texts, a column of n for each; the types are those of ``Transaction``."""

    transaction_id: list[Identifier]
    card_id: list[Identifier]
    merchant_id: list[Identifier]
    currency: list[Annotated[str, Meta(min_length=3, max_length=3)]]
    customer_id: list[Identifier | None]
    device_id: list[Identifier | None]
    ip: list[Annotated[str, Meta(max_length=45)] | None]
    mcc: list[Annotated[str, Meta(max_length=4)] | None]
    channel: list[Channel | None]
    country: list[Annotated[str, Meta(min_length=2, max_length=2)] | None]
    tenant: list[Identifier]

    @staticmethod
    def of(transactions: Sequence[Transaction]) -> Texts:
        """The texts of transactions."""
        return Texts(*([getattr(tx, name) for tx in transactions] for name in TEXTS))


TEXTS = Texts.__struct_fields__


class FeatureRecord(msgspec.Struct, frozen=True):
    """One row, for who looks at few of them: see ``NUMBERS``. ``vector``: little-endian float32 in the catalogue's order."""

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
    """n rows, n at least 1. A part of them, ``batch[first:end]``, looks at the same memory."""

    catalogue: str
    partition: int
    #: NUMBERS (n,), offsets ascending
    numbers: npt.NDArray[np.void]
    #: float32 (n, entries of the catalogue), NaN: unknown
    vectors: npt.NDArray[np.float32]
    texts: Texts
    #: the HTTP edge's decision as JSON, where it has decided already; None: nowhere
    decided: Sequence[bytes | None] | None = None
    traces: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> FeatureBatch:
        return self._picked(part, itemgetter(part))

    def take(self, rows: Sequence[int]) -> FeatureBatch:
        """The rows at some places, which ascend."""
        return self._picked(rows, lambda column: [column[row] for row in rows])

    def _picked(self, which: Any, pick: Callable[[Any], Any]) -> FeatureBatch:
        return replace(
            self, numbers=self.numbers[which], vectors=self.vectors[which], texts=Texts(*map(pick, astuple(self.texts))),
            decided=self.decided and pick(self.decided), traces=self.traces and pick(self.traces),
        )  # fmt: skip

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Of `transactions`, (n,)."""
        offsets: npt.NDArray[np.int64] = self.numbers["offset"]
        return offsets

    @property
    def event_ms(self) -> npt.NDArray[np.int64]:
        """Event times in whole milliseconds since 1970, (n,)."""
        return event_ms_of(self.numbers)

    def transactions(self) -> list[Transaction]:
        """The rows' transactions.

        Raises:
            ValueError, OverflowError, OSError: an event time is none that a datetime can hold.
        """
        numbers, texts = self.numbers, self.texts
        moments = map(_moment, (numbers["event_us"] / 1e6).tolist())
        places = [
            [None if degree != degree else degree for degree in numbers[name].tolist()]
            for name in ("latitude", "longitude")
        ]
        columns = (
            texts.transaction_id, moments, texts.card_id, texts.merchant_id, numbers["amount_minor"].tolist(),
            texts.currency, texts.customer_id, texts.device_id, texts.ip, texts.mcc, texts.channel, texts.country, *places,
            texts.tenant,
        )  # fmt: skip
        return list(map(_Transaction, *columns))

    def records(self) -> list[FeatureRecord]:
        """The rows one by one. Raises: as ``transactions``."""
        n, numbers = len(self), self.numbers
        columns = (
            *(numbers[name].tolist() for name in ("offset", "appended_ms", "deadline_ms", "missing")),
            self.transactions(), self.event_ms.tolist(), [vector.tobytes() for vector in self.vectors],
            map(tuple, numbers["as_of"].tolist()), self.decided or [None] * n, self.traces or [None] * n,
            numbers["frauds_as_of"].tolist(), numbers["late_ms"].tolist(),
        )  # fmt: skip
        return list(map(FeatureRecord, repeat(self.catalogue), repeat(self.partition), *columns))


# seconds as a double miss a microsecond between 2000 and 2100 by less than half of one, so that this finds it again
_moment = partial(datetime.fromtimestamp, tz=UTC)
# one that takes its fields in their order, for a third of the cost; by name, look and equality the same
_Transaction: Any = msgspec.defstruct(
    "Transaction",
    [(f.name, f.type) if f.required else (f.name, f.type, f.default) for f in msgspec.structs.fields(Transaction)],
    bases=(Transaction,),
    frozen=True,
    kw_only=False,
)  # fmt: skip


def event_us_of(transactions: Sequence[Transaction]) -> npt.NDArray[np.int64]:
    """Event times in microseconds since 1970, (n,): as exact as transactions have them."""
    seconds = np.array([tx.event_time.timestamp() for tx in transactions], dtype=np.float64)
    return np.rint(seconds * 1e6).astype(np.int64)


def event_ms_of(numbers: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Event times of NUMBERS (n,) in whole milliseconds since 1970."""
    moments: npt.NDArray[np.int64] = numbers["event_us"] // 1000
    return moments


class _Head(msgspec.Struct, array_like=True, frozen=True):
    catalogue: str
    partition: int
    numbers: bytes
    vectors: bytes


class _Wire(_Head, array_like=True, frozen=True):
    texts: Texts
    decided: Sequence[bytes | None] | None
    traces: Sequence[str | None] | None


class Vectors(NamedTuple):
    """A batch without its texts: numbers (n,) and vectors (n, entries of the catalogue)."""

    catalogue: str
    numbers: npt.NDArray[np.void]
    vectors: npt.NDArray[np.float32]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode_batch(batch: FeatureBatch) -> list[bytes]:
    """Values for `features`, to be produced in this order: one, or more where one would be too large."""
    n = len(batch)
    if n <= MAX_ROWS:
        wire = _Wire(
            batch.catalogue, batch.partition, batch.numbers.tobytes(), batch.vectors.tobytes(), batch.texts, batch.decided,
            batch.traces,
        )  # fmt: skip
        value = _encoder.encode(wire)
        if n == 1 or len(value) <= MAX_BYTES:
            return [value]
    return [*encode_batch(batch[: n // 2]), *encode_batch(batch[n // 2 :])]


def decode_batch(value: bytes | None, partition: int) -> FeatureBatch:
    """The batch in a record's value; ``partition``: the one of `features` that it lies on.

    Raises:
        FeatureBatchError: it is none, or of another partition, or its columns differ in length, or its offsets do not ascend.
    """
    wire: _Wire = _decoded(_decoder, value)
    numbers, vectors = _arrays(wire, partition)
    lengths = {len(column) for column in astuple(wire.texts)}
    lengths |= {len(column) for column in (wire.decided, wire.traces) if column is not None}
    if lengths != {len(numbers)}:
        raise FeatureBatchError(f"{len(numbers)} rows have columns of {sorted(lengths)}")
    return FeatureBatch(wire.catalogue, partition, numbers, vectors, wire.texts, wire.decided, wire.traces)


def decode_vectors(value: bytes | None, partition: int) -> Vectors:
    """As ``decode_batch``, for who needs no texts: a quarter of the cost. Raises: FeatureBatchError."""
    head: _Head = _decoded(_head_decoder, value)
    return Vectors(head.catalogue, *_arrays(head, partition))


def _decoded(decoder: Any, value: bytes | None) -> Any:
    if value is None:
        raise FeatureBatchError("it has no value")
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FeatureBatchError(str(error)) from error


def _arrays(head: _Head, partition: int) -> tuple[npt.NDArray[np.void], npt.NDArray[np.float32]]:
    """Raises: FeatureBatchError."""
    if head.partition != partition:
        raise FeatureBatchError(f"it says partition {head.partition} and lies on {partition}")
    n = len(head.numbers) // NUMBERS.itemsize
    if not n or n * NUMBERS.itemsize != len(head.numbers) or len(head.vectors) % (4 * n):
        raise FeatureBatchError(
            f"{len(head.numbers)} bytes of numbers and {len(head.vectors)} of vectors are no rows of equal size"
        )
    numbers = np.frombuffer(head.numbers, NUMBERS)
    offsets = numbers["offset"]
    if offsets[0] < 0 or (n > 1 and not (offsets[1:] > offsets[:-1]).all()):
        raise FeatureBatchError("its offsets do not ascend")
    return numbers, np.frombuffer(head.vectors, "<f4").reshape(n, -1)
