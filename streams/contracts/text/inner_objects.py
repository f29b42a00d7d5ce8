"""Where objects stand inside the objects of many lines of JSON: the attributes of transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_QUOTE, _COLON, _BLANK, _OPEN, _CLOSE = map(ord, '": {}')
#: int64, where something stands in bytes
Places = npt.NDArray[Any]


class InnerObjects(NamedTuple):
    """Where k objects begin and end in the lines, and the line of each, (k,)."""

    opens: Places
    closes: Places
    lines: Places


def inner_objects(joined: bytes, lines: Sequence[bytes]) -> InnerObjects | None:
    """The objects inside the lines' own; None where braces stand in texts or lists, or objects inside such objects.

    Args:
        joined: ASCII without escapes, the lines with a line break between two; each begins and ends with a brace of its own.
    """
    text = np.frombuffer(joined, dtype=np.uint8)
    opens, closes = np.flatnonzero(text == _OPEN), np.flatnonzero(text == _CLOSE)
    begins = line_begins(lines)
    opens = np.delete(opens, np.searchsorted(opens, begins))
    closes = np.delete(closes, np.searchsorted(closes, np.append(begins[1:] - 2, len(text) - 1)))
    if len(opens) != len(closes) or (opens > closes).any() or (opens[1:] < closes[:-1]).any():
        return None
    # behind a name and its colon: no text without escapes holds these signs
    spaced = text[opens - 1] == _BLANK
    colons = opens - 1 - spaced
    if ((text[colons] != _COLON) | (text[colons - 1] != _QUOTE)).any():
        return None
    return InnerObjects(opens, closes, np.searchsorted(begins, opens) - 1)


def line_begins(lines: Sequence[bytes]) -> Places:
    """Where each line begins in all of them with a line break between two."""
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    return np.concatenate([[0], np.cumsum(lengths[:-1] + 1)])


def outside_of(joined: bytes, inner: InnerObjects) -> bytes:
    """The lines without what stands in the objects."""
    begins, ends = [0, *inner.closes.tolist()], [*inner.opens.tolist(), len(joined)]
    return b"{".join([joined[begin:end] for begin, end in zip(begins, ends, strict=True)])
