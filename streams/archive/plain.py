"""Features records as columns straight from their bytes, by one compiled loop: no object for a record, a field or a time.

For records as the processor writes them (``streams.log.records.FeatureRecord``), all of this code's catalogue. Where one of a
batch is anything else, ``plain_columns`` says so and the batch goes by way of structs (``streams.archive.tables``), which knows
other catalogues and says what is wrong with a record. The bytes' layout: MessagePack, github.com/msgpack/msgpack/spec.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec.inspect import StrType, StructType, UnionType
from numba import njit

from features.catalogue import CATALOGUE_HASH, WIDTH
from features.store.batch_commands import names_of
from features.transaction import Channel, Transaction

#: the transaction's fields by the way they are kept
TEXTS = (
    "transaction_id", "card_id", "merchant_id", "tenant", "currency", "channel", "country", "customer_id", "device_id",
    "ip", "mcc",
)  # fmt: skip
PLACES = ("latitude", "longitude")
_AMOUNT = "amount_minor"
#: of these there is always one: columns of TEXTS
_REQUIRED = 5
_NUMBERS = ("partition", "offset", "missing", "event_ms", _AMOUNT)
Bytes = npt.NDArray[np.uint8]


class PlainColumns(NamedTuple):
    """n records. ``texts`` and ``places`` by the names above; ``numbers``: partition, offset, missing, event_ms and amount_minor, int64 (n,)."""

    texts: dict[str, pa.Array]
    places: dict[str, pa.Array]
    numbers: dict[str, npt.NDArray[np.int64]]
    #: float32 (n, WIDTH)
    vectors: npt.NDArray[np.float32]


def plain_columns(values: Sequence[bytes | None]) -> PlainColumns | None:
    """The columns of records' values; None where one of them is not plain."""
    n = len(values)
    if not n or not all(values):
        return None
    joined = np.frombuffer(b"".join(values), dtype=np.uint8)  # type: ignore[arg-type]
    ends = np.zeros(n + 1, dtype=np.int64)
    np.cumsum([len(value) for value in values if value], out=ends[1:])
    numbers = np.empty((len(_NUMBERS), n), dtype=np.int64)
    # the bits of doubles
    places = np.empty((len(PLACES), n), dtype=np.uint64)
    present = np.empty((len(PLACES), n), dtype=np.bool_)
    # where each text begins (-1: there is none), and how long it is; the last one is the trace, which is only looked at
    spans = np.empty((len(TEXTS) + 1, 2, n), dtype=np.int64)
    vectors = np.empty((n, 4 * WIDTH), dtype=np.uint8)
    if not _read(
        joined, ends, _CATALOGUE, _KEYS, _KEY_ENDS, _SLOTS, _LENGTHS, numbers, places, present, spans, vectors
    ):
        return None
    degrees = places.view(np.float64)
    if not _plausible(numbers, degrees):
        return None
    try:
        texts = {
            name: _texts(joined, spans[k, 0], spans[k, 1], k < _REQUIRED) for k, name in enumerate(TEXTS)
        }
        _texts(joined, spans[-1, 0], spans[-1, 1], False)
    except pa.ArrowInvalid:
        # bytes that are no UTF-8
        return None
    if not set(texts["channel"].unique().to_pylist()) <= _CHANNELS:
        return None
    kept = {name: pa.array(degrees[k], pa.float64(), mask=~present[k]) for k, name in enumerate(PLACES)}
    return PlainColumns(texts, kept, dict(zip(_NUMBERS, numbers, strict=True)), vectors.view("<f4"))


def warm() -> None:
    """Compile the loops (seven seconds), or load what was compiled before, so that no batch waits for it."""
    plain_columns([b"\x90"])
    _texts(np.frombuffer(b"-", dtype=np.uint8), np.zeros(1, np.int64), np.ones(1, np.int64), True)


def _plausible(numbers: npt.NDArray[np.int64], degrees: npt.NDArray[np.float64]) -> bool:
    """Whether numbers are in their fields' ranges; what is not is for structs to refuse, record by record."""
    partition, _, missing, _, amount = numbers
    return bool(
        (partition < 2**31).all()
        and (missing < 2**31).all()
        and (numbers >= 0).all()
        and (amount < 2**40).all()
        and (np.abs(degrees) <= [[90.0], [180.0]]).all()
    )


def _texts(joined: Bytes, starts: Any, sizes: Any, required: bool) -> pa.Array:
    offsets = np.zeros(len(starts) + 1, dtype=np.int32)
    np.cumsum(sizes, out=offsets[1:])
    data = np.empty(int(offsets[-1]), dtype=np.uint8)
    _copy(joined, starts, offsets, data)
    valid = None if required else pa.array(starts >= 0).buffers()[1]
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.Array.from_buffers(pa.string(), len(starts), buffers)
    array.validate(full=True)
    return array


def _lengths() -> npt.NDArray[np.int64]:
    """The least and the most characters of each text, (texts, 2), as the transaction's own fields say."""
    described = msgspec.inspect.type_info(Transaction)
    assert isinstance(described, StructType)
    types = {field.name: field.type for field in described.fields}
    out = np.zeros((len(TEXTS), 2), dtype=np.int64)
    for row, name in zip(out, TEXTS, strict=True):
        kind = types[name]
        kinds = kind.types if isinstance(kind, UnionType) else (kind,)
        texts = [each for each in kinds if isinstance(each, StrType)]
        # a channel is one of a few words, which are looked at afterwards
        row[1] = (texts[0].max_length if texts else None) or _LONGEST_WORD
        row[0] = (texts[0].min_length if texts else None) or 0
    return out


_CATALOGUE = np.frombuffer(bytearray(CATALOGUE_HASH.encode()), dtype=np.uint8)
_KEPT = (*TEXTS, *PLACES, _AMOUNT, "event_time")
#: the transaction's fields that are kept, in the order in which they are written, and the place of each in _KEPT
_ORDER = [name for name in Transaction.__struct_fields__ if name in _KEPT]
_KEYS, _KEY_ENDS = names_of(_ORDER)
_SLOTS = np.array([_KEPT.index(name) for name in _ORDER])
_TEXTS, _PLACES = len(TEXTS), len(PLACES)
_AMOUNT_AT = _TEXTS + _PLACES
#: fields that every record has; a newer code may append more
_FIELDS = 10
#: fields that this code knows
_KNOWN = 14
_NIL = 0xC0
_CHANNELS = {None, *get_args(Channel)}
_LONGEST_WORD = max(map(len, get_args(Channel)))
_LENGTHS = _lengths()


@njit(cache=True, nogil=True)
def _read(
    data: Any, ends: Any, catalogue: Any, keys: Any, key_ends: Any, slots: Any, lengths: Any, numbers: Any, places: Any,
    present: Any, spans: Any, vectors: Any,
) -> bool:  # fmt: skip
    """Fill the columns; False: one of the records is not as the processor writes it.

    Every helper takes the place of a value and the end of its record, and returns where the next value begins, or -1.
    """
    for i in range(ends.shape[0] - 1):
        end = ends[i + 1]
        count, at = _items(data, ends[i], end, 0x90, 0xDC)
        if at < 0 or count < _FIELDS:
            return False
        start, size, at = _text(data, at, end)
        if at < 0 or not _same(data, start, size, catalogue, 0, catalogue.shape[0]):
            return False
        numbers[0, i], at = _integer(data, at, end)
        numbers[1, i], at = _integer(data, at, end)
        for _ in range(2):
            _, at = _integer(data, at, end)
        numbers[2, i], at = _integer(data, at, end)
        at = _transaction(data, at, end, keys, key_ends, slots, lengths, i, numbers, places, present, spans)
        numbers[3, i], at = _integer(data, at, end)
        start, size, at = _blob(data, at, end)
        # not a constant: compiled code is kept with this file, and the catalogue grows in its own
        if at < 0 or size != vectors.shape[1]:
            return False
        vectors[i] = data[start : start + size]
        # what follows is not kept, but must be what structs take
        spans[_TEXTS, 0, i], spans[_TEXTS, 1, i], at = _rest(data, at, end, count)
        if at != end:
            return False
    return True


@njit(cache=True, nogil=True)
def _transaction(
    data: Any, at: Any, end: Any, keys: Any, key_ends: Any, slots: Any, lengths: Any, i: Any, numbers: Any, places: Any,
    present: Any, spans: Any,
) -> Any:  # fmt: skip
    pairs, at = _items(data, at, end, 0x80, 0xDE)
    if at < 0:
        return -1
    fields = key_ends.shape[0] - 1
    for k in range(_TEXTS):
        spans[k, 0, i] = -1
        spans[k, 1, i] = 0
    for k in range(_PLACES):
        present[k, i] = False
        places[k, i] = 0
    numbers[4, i] = -1
    # fields come in their order: the next one is looked for where the last one was found
    after, found = 0, 0
    for _ in range(pairs):
        start, size, at = _text(data, at, end)
        if at < 0 or at >= end:
            return -1
        field = -1
        for step in range(fields):
            k = (after + step) % fields
            if _same(data, start, size, keys, key_ends[k], key_ends[k + 1]):
                field = slots[k]
                after = k + 1
                break
        if field >= 0:
            if (found >> field) & 1:
                # which of the two counts is for structs to say
                return -1
            found |= 1 << field
        if field < 0 or (data[at] == _NIL and _REQUIRED <= field < _AMOUNT_AT):
            at = _skip(data, at, end)
        elif field < _TEXTS:
            start, size, at = _text(data, at, end)
            if at < 0 or not lengths[field, 0] <= _characters(data, start, size) <= lengths[field, 1]:
                return -1
            spans[field, 0, i], spans[field, 1, i] = start, size
        elif field > _AMOUNT_AT:
            at = _moment(data, at, end)
        elif field < _AMOUNT_AT:
            places[field - _TEXTS, i], at = _double(data, at, end)
            present[field - _TEXTS, i] = True
        else:
            numbers[4, i], at = _integer(data, at, end)
        if at < 0:
            return -1
    if numbers[4, i] < 0 or not (found >> (_AMOUNT_AT + 1)) & 1:
        return -1
    for k in range(_REQUIRED):
        if spans[k, 0, i] < 0:
            return -1
    return at


@njit(cache=True, nogil=True)
def _rest(data: Any, at: Any, end: Any, count: Any) -> Any:
    """(start and size of the trace, -1 where there is none; next) of a record's fields after its vector."""
    places, at = _items(data, at, end, 0x90, 0xDC)
    if at < 0 or places != 5:
        return -1, 0, -1
    for _ in range(places):
        _, at = _integer(data, at, end)
    start, size = np.int64(-1), np.int64(0)
    for field in range(_FIELDS, count):
        if at < 0 or at >= end:
            return -1, 0, -1
        if field >= _KNOWN or (field < _FIELDS + 2 and data[at] == _NIL):
            at = _skip(data, at, end)
        elif field == _FIELDS:
            _, _, at = _blob(data, at, end)
        elif field == _FIELDS + 1:
            start, size, at = _text(data, at, end)
        else:
            _, at = _integer(data, at, end)
    return start, size, at


@njit(cache=True, nogil=True)
def _moment(data: Any, at: Any, end: Any) -> Any:
    """Where the value after a moment begins; one of 1970 to 2514, which is of no other kind."""
    if at < 0 or at + 6 > end or data[at + 1] != 0xFF:
        return -1
    if data[at] == 0xD6:
        return at + 6
    if data[at] != 0xD7 or at + 10 > end or (_big_endian(data, at + 2, 4) >> np.uint64(2)) > 999_999_999:
        return -1
    return at + 10


@njit(cache=True, nogil=True)
def _characters(data: Any, start: Any, size: Any) -> Any:
    """Of a text in UTF-8."""
    found = 0
    for j in range(size):
        found += (data[start + j] & 0xC0) != 0x80
    return found


@njit(cache=True, nogil=True)
def _copy(data: Any, starts: Any, offsets: Any, out: Any) -> None:
    for i in range(starts.shape[0]):
        for j in range(offsets[i + 1] - offsets[i]):
            out[offsets[i] + j] = data[starts[i] + j]


@njit(cache=True, nogil=True)
def _same(data: Any, start: Any, size: Any, other: Any, first: Any, last: Any) -> bool:
    if size != last - first:
        return False
    same = True
    for j in range(size):
        if data[start + j] != other[first + j]:
            same = False
            break
    return same


@njit(cache=True, nogil=True)
def _big_endian(data: Any, at: Any, size: Any) -> Any:
    number = np.uint64(0)
    for j in range(size):
        number = (number << np.uint64(8)) | np.uint64(data[at + j])
    return number


@njit(cache=True, nogil=True)
def _items(data: Any, at: Any, end: Any, small: Any, large: Any) -> Any:
    """How many an array (0x90, 0xDC) or a map (0x80, 0xDE) holds, and where they begin."""
    if at < 0 or at >= end:
        return 0, -1
    head = np.int64(data[at])
    if head & 0xF0 == small:
        return head & 0x0F, at + 1
    if head == large and at + 3 <= end:
        return np.int64(_big_endian(data, at + 1, 2)), at + 3
    return 0, -1


@njit(cache=True, nogil=True)
def _sized(data: Any, at: Any, end: Any, kind: Any) -> Any:
    """(start, size, next) of what says its size in one, two or four bytes: its kind is ``kind`` or one of the two after it."""
    if at < 0 or at >= end:
        return -1, 0, -1
    head = np.int64(data[at]) - kind
    if not 0 <= head <= 2:
        return -1, 0, -1
    start = at + 1 + (1 << head)
    if start > end:
        return -1, 0, -1
    size = np.int64(_big_endian(data, at + 1, 1 << head))
    if start + size > end:
        return -1, 0, -1
    return start, size, start + size


@njit(cache=True, nogil=True)
def _text(data: Any, at: Any, end: Any) -> Any:
    """(start, size, next) of a string."""
    if at < 0 or at >= end or data[at] & 0xE0 != 0xA0:
        return _sized(data, at, end, 0xD9)
    size = np.int64(data[at]) & 0x1F
    if at + 1 + size > end:
        return -1, 0, -1
    return at + 1, size, at + 1 + size


@njit(cache=True, nogil=True)
def _blob(data: Any, at: Any, end: Any) -> Any:
    """(start, size, next) of bytes."""
    return _sized(data, at, end, 0xC4)


@njit(cache=True, nogil=True)
def _integer(data: Any, at: Any, end: Any) -> Any:
    """(value, next); what does not fit an int64 is none."""
    if at < 0 or at >= end:
        return 0, -1
    head = np.int64(data[at])
    if head < 0x80:
        return head, at + 1
    if head >= 0xE0:
        return head - 0x100, at + 1
    size = 1 << (head & 3)
    if not 0xCC <= head <= 0xD3 or at + 1 + size > end:
        return 0, -1
    number = np.int64(_big_endian(data, at + 1, size))
    if head <= 0xCF:
        return (number, at + 1 + size) if number >= 0 else (0, -1)
    if size < 8 and number >= 1 << (8 * size - 1):
        number -= 1 << (8 * size)
    return number, at + 1 + size


@njit(cache=True, nogil=True)
def _double(data: Any, at: Any, end: Any) -> Any:
    """(bits, next) of a 64-bit float, the only kind that is written."""
    if at < 0 or at + 9 > end or data[at] != 0xCB:
        return np.uint64(0), -1
    return _big_endian(data, at + 1, 8), at + 9


@njit(cache=True, nogil=True)
def _skip(data: Any, at: Any, end: Any) -> Any:
    """Where the value after this one begins."""
    left: Any = 1
    while left > 0:
        if at < 0 or at >= end:
            return -1
        left -= 1
        head = np.int64(data[at])
        if head < 0x80 or head >= 0xE0 or head == _NIL or 0xC2 <= head <= 0xC3:
            at += 1
        elif head < 0x90:
            left += 2 * (head & 0x0F)
            at += 1
        elif head < 0xA0:
            left += head & 0x0F
            at += 1
        elif head < 0xC0 or 0xD9 <= head <= 0xDB:
            _, _, at = _text(data, at, end)
        elif 0xC4 <= head <= 0xC6:
            _, _, at = _blob(data, at, end)
        elif 0xCC <= head <= 0xD3:
            at += 1 + (1 << (head & 3))
        elif 0xCA <= head <= 0xCB:
            at += 5 if head == 0xCA else 9
        elif 0xD4 <= head <= 0xD8:
            # an extension, such as a moment
            at += 2 + (1 << (head - 0xD4))
        elif head == 0xC7:
            at += 3 + np.int64(data[at + 1]) if at + 1 < end else end + 1
        elif head == 0xDC:
            count, at = _items(data, at, end, 0x90, 0xDC)
            left += count
        elif head == 0xDE:
            count, at = _items(data, at, end, 0x80, 0xDE)
            left += 2 * count
        else:
            # larger extensions, and arrays and maps of more than 65,535: nothing here writes them
            return -1
    return at if at <= end else -1
