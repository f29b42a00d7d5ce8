"""Which column is the time, and how it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from streams.mapping.definition import FieldRule, FileRule, ZoneRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.moments import convert_time
from streams.mapping.fields.numbers import Notation, read_numbers
from streams.mapping.fields.zones import zone_of
from streams.mapping.suggestion.profile import Column
from streams.mapping.suggestion.toml import quoted

_NAME = re.compile(
    r"time|date|datum|zeit|fecha|hora|heure|stamp|\bdt\b|created|booked|posted|\bat\b|\bstep\b|when|\bts\b"
)
_DATES = (
    "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y",
    "%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y",
)  # fmt: skip
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", "T%H:%M:%S", " %I:%M:%S %p", " %I:%M %p", ":%H:%M:%S")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(?:\.\d+)?)?(\.\d+)?( ?[AaPp][Mm])?")
#: names of columns of zones, whatever they hold; others must hold zones
_ZONE, _MAYBE_ZONE = (
    re.compile(r"\btime ?zone\b|\btz\b|\b(utc|gmt) ?offset\b"),
    re.compile(r"zone|offset|fuseau|huso"),
)
#: abbreviations of one meaning, which are no names of the tz database
_ABBREVIATIONS = {
    "EDT": "-04:00", "CDT": "-05:00", "CST": "-06:00", "MDT": "-06:00", "PST": "-08:00", "PDT": "-07:00", "AKST": "-09:00", "AKDT": "-08:00",
    "WEST": "+01:00", "CEST": "+02:00", "MEZ": "+01:00", "MESZ": "+02:00", "EEST": "+03:00", "MSK": "+03:00", "JST": "+09:00",
    "KST": "+09:00", "SGT": "+08:00", "HKT": "+08:00", "AEST": "+10:00", "AEDT": "+11:00", "NZST": "+12:00", "NZDT": "+13:00",
}  # fmt: skip
ISO_DATE = '"%Y-%m-%d"'
_OTHERS = (
    "%Y%m%d%H%M%S",
    "%Y%m%d %H:%M:%S",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
    "%y-%m-%d %H:%M:%S",
    "%y-%m-%d %H:%M",
    "%y-%m-%d",
)
_EPOCHS = (("s", 9.46e8, 4.1e9), ("ms", 9.46e11, 4.1e12), ("us", 9.46e14, 4.1e15), ("ns", 9.46e17, 4.1e18))
#: days of spreadsheets from 2000 to 2100
_SERIAL = (36_526, 73_051)
_NUMBER = re.compile(r"[-+]?[\d.,]+")
_TRIED = 300
_ENOUGH = 0.9


@dataclass(frozen=True)
class TimeGuess:
    """``columns`` and the rest of a rule as TOML; ``why``: the evidence; ``zone``: how each row's zone is found."""

    columns: list[str]
    options: dict[str, str]
    why: str
    zone: ZoneRule | None = None


def guess_time(columns: list[Column]) -> TimeGuess | None:
    """The column that is most likely the time of the transaction, and that of its zone; None if there is none."""
    found = _guess(columns)
    return None if found is None else _zoned(found, [c for c in columns if c.name not in found.columns])


def unread_time(columns: list[Column]) -> str | None:
    """Where no time was found: the column whose name says that it is one, and a text of it."""
    for column in columns:
        if _NAME.search(column.words) and column.full and not all(map(_NUMBER.fullmatch, column.counts)):
            rule = f'{{ column = {quoted(column.name)}, format = "%d.%m.%Y %H:%M" }}'
            return f"{column.name} seems to be the time, but {column.texts[0]!r} is in no form known here: {rule} with its own format (strptime) reads it"
    return None


def _zoned(found: TimeGuess, columns: list[Column]) -> TimeGuess:
    for column in columns:
        sure = _ZONE.search(column.words) is not None
        # numbers without a sign may be zones of a city
        if not sure and (not _MAYBE_ZONE.search(column.words) or all(map(str.isdecimal, column.counts))):
            continue
        others = [text for text in column.counts if zone_of(text) is None]
        words = {text: _ABBREVIATIONS[text] for text in others if text in _ABBREVIATIONS}
        if len(others) - len(words) <= (1 - _ENOUGH) * len(column.counts) and column.texts:
            return replace(found, zone=ZoneRule(column.name, words))
        if sure and others:
            told = f"{column.name} seems to name each row's zone, but nobody knows {others[0]!r}: say it with zone = {{ column, map }}"
            return replace(found, why=f"{found.why}; {told}")
    return found


def _guess(columns: list[Column]) -> TimeGuess | None:
    named = [column for column in columns if _NAME.search(column.words)]
    rest = [column for column in columns if column not in named]
    dates: list[tuple[Column, TimeGuess]] = []
    for column in named + rest:
        if not column.full:
            continue
        found = _one(column)
        if found is not None and (_has_clock(column) or (column in named and "epoch" in found.options)):
            return found
        if found is not None and "epoch" not in found.options:
            dates.append((column, found))
    split = _split(dates, columns) or _in_parts(columns)
    if split is not None:
        return split
    if dates:
        return dates[0][1]
    return next((_relative(column) for column in named if _is_count(column)), None)


def _one(column: Column) -> TimeGuess | None:
    kind = column.cells.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return TimeGuess([column.name], {}, f"the file says that it is a {kind}")
    texts = column.texts[:_TRIED]
    if not texts or pa.types.is_boolean(kind):
        return None
    if _fits(texts, FieldRule(column="t")):
        return TimeGuess([column.name], {}, f"ISO 8601, such as {texts[0]!r}")
    if pa.types.is_floating(kind) or all(re.fullmatch(r"\d+(\.\d+)?", text) for text in texts):
        return _epoch(column, texts)
    likely = [form for form in _formats() if any(_parses(text, form) for text in texts[:3])]
    fitting = [form for form in likely if _fits(texts, FieldRule(column="t", format=form))]
    if not fitting:
        return None
    form, why = fitting[0], f"such as {texts[0]!r}"
    if len(fitting) > 1:
        why += f"; {' and '.join(repr(other) for other in fitting[1:3])} would fit as well: say which it is"
    return TimeGuess([column.name], {"format": quoted(form)}, why)


def _formats() -> list[str]:
    return [date + clock for clock in _CLOCKS for date in _DATES] + list(_OTHERS)


def _parses(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _fits(texts: list[str], rule: FieldRule) -> bool:
    try:
        found = convert_time(rule, [pa.array(texts, pa.string())], "UTC", FileRule())
    except MappingError:
        return False
    return len(texts) - int(found.unfit.sum()) >= _ENOUGH * len(texts)


def _epoch(column: Column, texts: list[str]) -> TimeGuess | None:
    numbers = read_numbers(pa.array(texts, pa.string()), Notation(".", "")).values
    for unit, least, most in _EPOCHS:
        if ((numbers >= least) & (numbers < most)).mean() >= _ENOUGH:
            return TimeGuess(
                [column.name], {"epoch": f'"{unit}"'}, f"counts {unit} since 1970, such as {texts[0]}"
            )
    if _NAME.search(column.words) and ((numbers >= _SERIAL[0]) & (numbers < _SERIAL[1])).mean() >= _ENOUGH:
        epoch = '{ unit = "d", from = "1899-12-30T00:00:00" }'
        return TimeGuess(
            [column.name], {"epoch": epoch}, f"counts days as spreadsheets do, such as {texts[0]}"
        )
    if _fits(texts, FieldRule(column="t", format="%Y%m%d%H%M%S")):
        return TimeGuess([column.name], {"format": quoted("%Y%m%d%H%M%S")}, f"such as {texts[0]}")
    return None


def _has_clock(column: Column) -> bool:
    if pa.types.is_timestamp(column.cells.type):
        return True
    return column.share(lambda text: bool(re.search(r"\d[:hT.]?\d{2}(:|\b)", text) and ":" in text)) > _ENOUGH


def _split(dates: list[tuple[Column, TimeGuess]], columns: list[Column]) -> TimeGuess | None:
    """A date in one column, the time of day in another."""
    for column in columns:
        if dates and column.full and column.share(lambda text: bool(_CLOCK.fullmatch(text))) > _ENOUGH:
            date, found = dates[0]
            if date.name == column.name:
                continue
            options = {"template": '"{} {}"'}
            half = _CLOCK.fullmatch(column.texts[0])
            half_day = half[3] if half else None
            if "format" in found.options or half_day:
                seconds = ":%S" if column.texts[0].count(":") == 2 else ""
                clock = (
                    f"%I:%M{seconds}{' ' if half_day.startswith(' ') else ''}%p"
                    if half_day
                    else f"%H:%M{seconds}"
                )
                options["format"] = f'{found.options.get("format", ISO_DATE)[:-1]} {clock}"'
            return TimeGuess([date.name, column.name], options, f"a date and a time of day, such as {date.texts[0]!r} and {column.texts[0]!r}")  # fmt: skip
    return None


def _in_parts(columns: list[Column]) -> TimeGuess | None:
    """Year, month, day and perhaps the time of day in columns of their own."""
    by_name = {column.words: column for column in columns if column.full}
    parts = [by_name.get(word) for word in ("year", "month", "day")]
    if any(part is None for part in parts):
        return None
    names = [part.name for part in parts if part is not None]
    clock = by_name.get("time")
    if (
        clock is not None
        and clock.share(lambda text: bool(re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text))) > _ENOUGH
    ):
        return TimeGuess(
            [*names, clock.name],
            {"template": '"{}-{}-{}T{}"'},
            "year, month, day and time of day by their names",
        )
    return TimeGuess(names, {"template": '"{}-{}-{}"'}, "year, month and day by their names")


def _is_count(column: Column) -> bool:
    return (
        column.full
        and column.share(lambda text: bool(re.fullmatch(r"\d+(\.\d+)?([eE][-+]?\d+)?", text))) > _ENOUGH
    )


def _relative(column: Column) -> TimeGuess:
    unit = "h" if re.search(r"\bstep\b|hour", column.words) else "s"
    last = column.texts[-1]
    return TimeGuess(
        [column.name], {"epoch": f'{{ unit = "{unit}", from = "2020-01-01T00:00:00Z" }}'},
        f"counts from the file's start, {column.texts[0]} to {last}: say in which unit and since when",
    )  # fmt: skip
