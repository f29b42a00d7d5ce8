"""Zones of times that have no offset of their own: one for the whole file, or of each row from a column.

A time that comes twice when clocks change is the first of both, one that never comes is the moment at which the clocks jump.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import epoch_ms, from_ms
from streams.mapping.definition import ZoneRule
from streams.mapping.fields.converted import Mask
from streams.mapping.fields.text import as_text

#: an offset from UTC in ms, or a name of the tz database
Zone = int | str
Rows = npt.NDArray[np.int64]

#: +2, -05:00, UTC+1, +0530; not 120, which some mean as minutes
_OFFSET = re.compile(
    r"(?:UTC|GMT)? ?(?P<sign>[-+])?(?P<hours>\d{1,2})(?::(?P<minutes>[0-5]\d))?", re.IGNORECASE
)
_WIDEST_MS = 14 * 3_600_000
_ARROW_ENDS = epoch_ms(datetime(2037, 12, 31, tzinfo=UTC))


class ZonedTimes(NamedTuple):
    """``utc_ms``: int64; and the rows whose local time comes twice, never comes, or has no zone that is known."""

    utc_ms: npt.NDArray[np.int64]
    twice: Mask
    never: Mask
    lost: Mask


@lru_cache(maxsize=4096)
def zone_of(text: str) -> Zone | None:
    """A zone by its name in the tz database (``Europe/Paris``) or as an offset (``+02:00``, ``-5``, ``UTC+1``, ``Z``); None if it is none."""
    text = text.strip()
    if text.upper() in ("Z", "UTC", "GMT"):
        return 0
    if len(text) == 5 and text[1:].isdecimal():
        text = f"{text[:3]}:{text[3:]}"
    if found := _OFFSET.fullmatch(text):
        away_ms = (int(found["hours"]) * 60 + int(found["minutes"] or 0)) * 60_000
        return None if away_ms > _WIDEST_MS else -away_ms if found["sign"] == "-" else away_ms
    if not text:
        return None
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("ms")), text)
        ZoneInfo(text)
    except (pa.ArrowException, ValueError, KeyError, OSError):
        return None
    return text


def to_utc(
    local_ms: npt.NDArray[np.int64], rows: Rows, zone: str | ZoneRule, cells: pa.Array | None
) -> ZonedTimes:
    """Wall-clock times in UTC.

    Args:
        rows: those to convert; the others stay as they are.
        cells: the zones of all rows, where ``zone`` names a column.
    """
    out = local_ms.copy()
    twice, never, lost = (np.zeros(len(out), dtype=bool) for _ in range(3))
    for found, some in _by_zone(rows, zone, cells):
        if found is None:
            lost[some] = True
        elif isinstance(found, int):
            out[some] -= found
        else:
            out[some], twice[some], never[some] = _named(out[some], found)
    return ZonedTimes(out, twice, never, lost)


def _by_zone(rows: Rows, zone: str | ZoneRule, cells: pa.Array | None) -> Iterator[tuple[Zone | None, Rows]]:
    if isinstance(zone, str):
        yield zone_of(zone), rows
        return
    if cells is None or not len(rows):
        return
    coded = as_text(cells).take(pa.array(rows)).dictionary_encode()
    texts: list[str] = coded.dictionary.to_pylist()
    places = np.array(coded.indices.fill_null(-1))
    order = np.argsort(places, kind="stable")
    found, first = np.unique(places[order], return_index=True)
    for place, some in zip(found.tolist(), np.split(rows[order], first[1:]), strict=True):
        text = "" if place < 0 else texts[place].strip()
        yield zone_of(zone.map.get(text, text)), some


def _named(local_ms: npt.NDArray[np.int64], zone: str) -> tuple[npt.NDArray[np.int64], Mask, Mask]:
    """UTC milliseconds of local times in a zone; which of them come twice, and which never."""
    local = pa.array(local_ms).cast(pa.timestamp("ms"))
    first, last = (
        np.array(pc.assume_timezone(local, zone, ambiguous=a, nonexistent=n).cast(pa.int64()))
        for a, n in (("earliest", "latest"), ("latest", "earliest"))
    )
    doubtful = first != last
    same = np.zeros(len(first), dtype=bool)
    if doubtful.any():
        back = pa.array(first).cast(pa.timestamp("ms", tz=zone))
        same = np.array(pc.local_timestamp(back).cast(pa.int64())) == local_ms
    # Arrow knows no change of clocks from 2038 on
    later = np.flatnonzero(local_ms >= _ARROW_ENDS)
    first[later] = [_by_zone_info(int(ms), zone) for ms in local_ms[later].tolist()]
    return first, doubtful & same, doubtful & ~same


def _by_zone_info(local_ms: int, zone: str) -> int:
    local = from_ms(local_ms).replace(tzinfo=ZoneInfo(zone))
    return local_ms - round((local.utcoffset() or timedelta()).total_seconds() * 1000)
