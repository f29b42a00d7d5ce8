"""Moments and lengths of time as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Length(click.ParamType):
    """A length of time such as 30m, 2h or 1d; at most ``longest``."""

    name = "length"

    def __init__(self, longest: timedelta = timedelta(days=99_999)) -> None:
        self._longest = longest

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,5})([mhd])", str(value))
        length = int(found[1]) * _UNITS[found[2]] if found else timedelta()
        if not timedelta() < length <= self._longest:
            most = f" up to {self._longest.days}d"
            self.fail(f"{value!r} is not a length of time{most}, such as 30m, 2h or 1d", param, ctx)
        return length


class Moment(click.ParamType):
    """A time with its zone, in each form of RFC 3339; the command gets an aware ``datetime``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(str(value).upper())
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-21T10:15:30Z", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{value!r} has no zone: add Z, or +01:00", param, ctx)
        return found
