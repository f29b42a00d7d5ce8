"""Times in UTC milliseconds: ISO 8601 read by its grammar, other texts by a strptime format, counts from a start.

A text with its own offset keeps it. One without is local time of its zone (``fields.zones``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import EARLIEST_EVENT, LATEST_EVENT, epoch_ms
from streams.mapping.definition import Epoch, FieldRule, FileRule, ZoneRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.converted import Converted, Mask, bools, findings
from streams.mapping.fields.numbers import notation, read_numbers
from streams.mapping.fields.text import as_text, join_template
from streams.mapping.fields.zones import to_utc

TIMESTAMP = pa.timestamp("ms", tz="UTC")
_DAY_MS = 86_400_000
_UNIT_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_EARLIEST, _LATEST = epoch_ms(EARLIEST_EVENT), epoch_ms(LATEST_EVENT)
_CLOCK = (
    r"(?P<hour>\d{{1,2}}){0}(?P<minute>\d{{2}})(?:{0}(?P<second>\d{{2}})(?P<fraction>[.,]\d{{1,12}})?)?"
    r" ?(?P<zulu>Z|z|UTC|GMT)?(?P<offset>[-+]\d{{2}}(?::?\d{{2}})?)?(?P<name>\[[\w/+-]+\])?"
)
#: 2026-07-01, 2026-7-1 6:05, 2026/07/01T12:00:00.5+02:00[Europe/Paris]; then the same without separators
_ISO = (
    r"^(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})(?:(?:[Tt]| {1,2})" + _CLOCK.format(":") + ")?$",
    r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:[Tt ]" + _CLOCK.format(":?") + ")?$",
)  # fmt: skip


@dataclass
class _Read:
    """``local_ms``: int64 wall-clock time; ``offset_ms``: int64, where ``own``: the text has its own offset."""

    local_ms: npt.NDArray[np.int64]
    known: Mask
    own: Mask
    offset_ms: npt.NDArray[np.int64]

    @staticmethod
    def nothing(count: int) -> _Read:
        zeros = np.zeros(count, dtype=np.int64)
        return _Read(zeros, np.zeros(count, dtype=bool), np.zeros(count, dtype=bool), zeros.copy())

    def put(self, rows: npt.NDArray[np.int64], other: _Read) -> None:
        """Take over what was read of some rows."""
        rows, found = rows[other.known], other.known
        self.known[rows] = True
        self.local_ms[rows], self.offset_ms[rows] = other.local_ms[found], other.offset_ms[found]
        self.own[rows] = other.own[found]


def convert_time(
    rule: FieldRule,
    columns: list[pa.Array],
    zone: str | ZoneRule,
    file: FileRule,
    zones: pa.Array | None = None,
) -> Converted:
    """Times of one column, or of several put into the template. ``zones``: the cells of the column that ``zone`` names."""
    if rule.epoch is not None:
        read, present, wanted = _counted(rule, columns[0], file)
    elif rule.template is None and _is_moment(columns[0].type):
        read, present, wanted = _typed(columns[0])
    else:
        text = pc.utf8_trim_whitespace(join_template(rule.template, [as_text(column) for column in columns]))
        present = bools(pc.is_valid(text))
        read = _iso(text) if rule.format is None else _formatted(text, rule.format)
        wanted = "ISO 8601" if rule.format is None else f"the format {rule.format}"
    shifted = read.local_ms - read.offset_ms
    # a zone is asked only about times near the sane range: its rules end
    near = (shifted > _EARLIEST - _DAY_MS) & (shifted < _LATEST + _DAY_MS)
    moments, twice, never, lost = to_utc(shifted, np.flatnonzero(read.known & ~read.own & near), zone, zones)
    where = zone if isinstance(zone, str) else "its zone"
    sane = read.known & (moments >= _EARLIEST) & (moments < _LATEST)
    problems = findings(
        (f"is no time in {wanted}", present & ~read.known),
        ("has no zone that is known, such as Europe/Paris or +02:00", lost),
        ("is not between 2000 and 2100", read.known & ~sane),
    )
    sane &= ~lost
    notes = findings(
        (f"comes twice when clocks change in {where}: taken as the first of both", sane & twice),
        (f"never comes, clocks jump over it in {where}: taken as the moment of the jump", sane & never),
    )
    return Converted(pa.array(moments, mask=~sane).cast(TIMESTAMP), problems, notes)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def epoch_start(epoch: str | Epoch) -> tuple[int, bool]:
    """Milliseconds of an epoch's start since 1970, and whether that is local time of the zone.

    Raises:
        MappingError: the start is no time.
    """
    start = epoch.start if isinstance(epoch, Epoch) else "1970-01-01T00:00:00Z"
    try:
        moment = start if isinstance(start, datetime) else datetime.fromisoformat(str(start))
    except (TypeError, ValueError):
        raise MappingError(f"an epoch begins at a time such as 2026-01-01T00:00:00Z, not {start!r}") from None
    local = moment.tzinfo is None
    return epoch_ms(moment.replace(tzinfo=UTC) if local else moment), local


def _counted(rule: FieldRule, column: pa.Array, file: FileRule) -> tuple[_Read, Mask, str]:
    assert rule.epoch is not None
    unit = rule.epoch.unit if isinstance(rule.epoch, Epoch) else rule.epoch
    start, local = epoch_start(rule.epoch)
    if pa.types.is_duration(column.type):
        # the file itself says in which unit it counts
        unit = column.type.unit
        column = column.cast(pa.int64())
    numbers = read_numbers(column, notation(rule, file)).values
    present = bools(pc.is_valid(column)) & ~(
        np.isnan(numbers) & np.asarray(pa.types.is_floating(column.type))
    )
    with np.errstate(invalid="ignore", over="ignore"):
        count = np.rint(numbers * _UNIT_MS[unit])
        known = np.abs(count) < 2.0**53
    read = _Read.nothing(len(column))
    read.known, read.own = known, np.full(len(column), not local)
    read.local_ms = np.where(known, count, 0).astype(np.int64) + start
    return read, present, f"a count of {unit}"


def _typed(column: pa.Array) -> tuple[_Read, Mask, str]:
    present = bools(pc.is_valid(column))
    own = getattr(column.type, "tz", None) is not None
    plain = column.cast(pa.timestamp(column.type.unit)) if pa.types.is_timestamp(column.type) else column
    moments = plain.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).fill_null(0)
    read = _Read.nothing(len(column))
    read.local_ms, read.known, read.own = np.array(moments), present, np.full(len(column), own)
    return read, present, "the file's own type"


def _iso(text: pa.Array) -> _Read:
    read = _parts(pc.extract_regex(text, _ISO[0]))
    rest = np.flatnonzero(~read.known & bools(pc.is_valid(text)))
    if len(rest):
        read.put(rest, _parts(pc.extract_regex(text.take(pa.array(rest)), _ISO[1])))
    return read


def _parts(found: pa.Array) -> _Read:
    """Wall-clock time and offset from the captured digits; impossible dates and hours stay unknown."""

    def captured(name: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(found, name), "")

    def number(name: str) -> npt.NDArray[np.int64]:
        text = captured(name)
        return np.array(pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64()))

    year, month, day = number("year"), number("month"), number("day")
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    hour, minute, second = number("hour"), number("minute"), number("second")
    milliseconds = np.array(
        pc.utf8_slice_codeunits(pc.utf8_rpad(captured("fraction"), 4, "0"), 1, 4).cast(pa.int64())
    )
    known = bools(pc.is_valid(found)) & (month >= 1) & (month <= 12) & (day >= 1)
    known &= (
        (days.astype("datetime64[M]").astype(np.int64) == months)
        & (hour < 24)
        & (minute < 60)
        & (second < 60)
    )
    local = days.astype(np.int64) * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds
    shift = captured("offset")
    digits = pc.utf8_rpad(pc.replace_substring_regex(shift, "[-+:]", ""), 4, "0").cast(pa.int64())
    away = np.array(digits) // 100 * 60 + np.array(digits) % 100
    sign = np.where(bools(pc.starts_with(shift, "-")), -1, 1)
    has_shift, zulu = bools(pc.not_equal(shift, "")), bools(pc.not_equal(captured("zulu"), ""))
    known &= (away < 24 * 60) & ~(has_shift & zulu)
    # a name alone says when, but is read from a column of its own only
    known &= has_shift | zulu | bools(pc.equal(captured("name"), ""))
    return _Read(local, known, has_shift | zulu, sign * away * 60_000)


def _formatted(text: pa.Array, form: str) -> _Read:
    """Texts in a strptime format, with an offset behind it or without: the parser says which."""
    read = _Read.nothing(len(text))
    bare = form.removesuffix("%z").rstrip() if form.endswith("%z") else form
    with_zone = [form] if "%z" in form else [f"{form}%z", f"{form} %z"]
    for style, own in [
        *([(bare, False)] if "%z" not in bare else []),
        *((style, True) for style in with_zone),
    ]:
        rest = np.flatnonzero(~read.known & bools(pc.is_valid(text)))
        if len(rest):
            read.put(rest, _strptime(text.take(pa.array(rest)).to_pylist(), style, own))
    return read


def _strptime(texts: list[str], style: str, own: bool) -> _Read:
    read = _Read.nothing(len(texts))
    try:
        index = pd.DatetimeIndex(
            pd.to_datetime(pd.Index(texts, dtype=object), format=style, errors="coerce", utc=own)
        )
    except (ValueError, OverflowError) as error:
        raise MappingError(f"event_time cannot be read with the format {style!r}: {error}") from None
    moments = (index.tz_convert(None) if index.tz is not None else index).to_numpy().astype("datetime64[ms]")
    read.known = ~np.isnat(moments)
    read.local_ms = np.where(read.known, moments.astype(np.int64), 0)
    read.own[:] = own
    return read
