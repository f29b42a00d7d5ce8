"""Finds objects that name a field twice. Parsers disagree about which of the two counts, so such a record says two things and is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from features.transaction import Transaction
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.contracts.text.inner_objects import InnerObjects, Places, line_begins

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLANK_BEFORE_COLON = re.compile(rb'"\s+:')
_QUOTE, _COLON, _BLANK = ord('"'), ord(":"), ord(" ")


class _Repeated(Exception):
    """A field is named twice."""


def repeats_a_field(raw: bytes) -> bool:
    """Whether a JSON object that was parsed already names a field twice, in itself or in an object inside it."""
    # a name ends with a quotation mark and a colon: as many of them as fields, and none is there twice
    try:
        found = _object_decoder.decode(raw)
        fields = len(found)
        attributes = bytes(found.get("attributes", b""))
        if attributes.startswith(b"{"):
            fields += len(_object_decoder.decode(attributes))
    except UNREADABLE:
        return False
    if raw.count(b'":') == fields and not _BLANK_BEFORE_COLON.search(raw):
        return False
    try:
        json.loads(raw, object_pairs_hook=_refuse_repeated)
    except _Repeated:
        return True
    except UNREADABLE:
        # Python's parser minds what msgspec did not, in a field that nobody reads: then nobody can say
        return True
    return False


def refuse_repeated_fields(raw: bytes) -> None:
    """Raises: InvalidEvent, ``repeated_field``: see ``repeats_a_field``."""
    if repeats_a_field(raw):
        raise InvalidEvent(
            "repeated_field", "", "a field is named twice, or nested too deeply to tell: send each once"
        )


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _bits() -> npt.NDArray[np.uint32]:
    """By length and second letter of a transaction's field: a bit of its own."""
    table = np.zeros((16, 256), dtype=np.uint32)
    for bit, name in enumerate(Transaction.__struct_fields__):
        table[len(name), ord(name[1])] |= 1 << bit
    return table


_BITS = _bits()


def lines_repeat_a_field(
    joined: bytes, lines: Sequence[bytes], found: Sequence[Transaction], inner: InnerObjects | None = None
) -> bool:
    """Whether a line names one of a transaction's fields or attributes twice, or might.

    Each line must be an object of a transaction's fields alone, ASCII without escapes. Of many lines it costs half a microsecond each.

    Args:
        joined: the lines with a line break between two.
        found: the transaction in each line.
        inner: the objects inside the lines; None: there are none.
    """
    text = np.frombuffer(joined, dtype=np.uint8)
    quotes = np.flatnonzero(text == _QUOTE)
    # every second mark ends a text; those before a colon end a name
    ends = quotes[1::2]
    after = text[np.minimum(ends + 1, len(text) - 1)]
    named = after == _COLON
    if len(quotes) % 2 or not named.any() or (after <= _BLANK).any():
        return True
    starts, ends = quotes[::2][named], ends[named]
    if inner is not None:
        inside = _in_attributes(inner, starts, found)
        if inside is None:
            return True
        starts, ends = starts[~inside], ends[~inside]
    lengths = ends - starts - 1
    if lengths.max() >= len(_BITS):
        return True
    bits = _BITS[lengths, text[starts + 2]]
    first = np.searchsorted(starts, line_begins(lines))
    # of different bits the sum is what they are together; of equal ones it is not
    return not np.array_equal(
        np.add.reduceat(bits, first, dtype=np.uint64), np.bitwise_or.reduceat(bits, first).astype(np.uint64)
    )


def _in_attributes(inner: InnerObjects, names: Places, found: Sequence[Transaction]) -> Places | None:
    """Which of the names stand in the attributes, bool; None where some have more names than their transaction has attributes:
    of a name that is repeated the last remains.

    Args:
        names: where they begin, ascending.
    """
    first, end = np.searchsorted(names, inner.opens), np.searchsorted(names, inner.closes)
    if (end - first).tolist() != [len(found[line].attributes or ()) for line in inner.lines.tolist()]:
        return None
    inside = np.zeros(len(names) + 1, dtype=np.int8)
    # an object stands behind a name of its line, so that no two begin or end at one
    inside[first] += 1
    inside[end] -= 1
    return np.cumsum(inside[:-1], dtype=np.int8).astype(np.bool_)
