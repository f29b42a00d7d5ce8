"""The values that a feature can have, as its unit says. NaN, where a value is unknown, is outside of every range."""

from __future__ import annotations

import math
from dataclasses import dataclass

from features.feature import MINOR_UNITS, Feature
from features.profile.records import RECENT
from features.transaction import AMOUNT_LIMIT, CHANNELS

_HALF_EQUATOR_KM = 20_016.0
#: linear counting in 128 buckets gives no more
_MAX_CARDS = 621


@dataclass(frozen=True)
class Range:
    """``low`` and ``high`` are possible values themselves, or infinite. ``whole``: only whole numbers."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    #: what the numbers stand for, if they are codes
    meaning: str = ""

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{kind} from {self.low:g} on" if self.low > -math.inf else kind
        return f"{kind} from {shown(self.low)} to {shown(self.high)}" + (
            f" ({self.meaning})" if self.meaning else ""
        )


def shown(number: float) -> str:
    """A number as people write it: whole ones without exponent."""
    return str(int(number)) if float(number).is_integer() else repr(number)


AMOUNT = Range(0, AMOUNT_LIMIT - 1, whole=True)
_COUNT = Range(0, whole=True)
#: the newest payments of a payer, and the one that is decided
_AMONG_NEWEST = Range(0, RECENT + 1, whole=True)
_BY_NAME = {
    "amount": AMOUNT, "log_amount": Range(0, math.log1p(AMOUNT_LIMIT)), "hour": Range(0, 23, whole=True),
    "weekday": Range(0, 6, whole=True, meaning="0 is Monday"),
    "channel": Range(0, len(CHANNELS) - 1, whole=True, meaning=", ".join(f"{code} {name}" for code, name in enumerate(CHANNELS))),
    "mcc": Range(0, 9999, whole=True), "currency_code": Range(0, 26**3 - 1, whole=True),
}  # fmt: skip
_BY_UNIT = {
    "0/1": Range(0, 1, whole=True), "share": Range(0, 1), "ratio": Range(0), "seconds": Range(0), "days": Range(0),
    "km/h": Range(0), "km": Range(0, _HALF_EQUATOR_KM), MINOR_UNITS: Range(0), "transactions": _COUNT, "frauds": _COUNT,
    "cards": Range(0, _MAX_CARDS, whole=True), "merchants": _AMONG_NEWEST, "countries": _AMONG_NEWEST,
    "devices": _AMONG_NEWEST, "standard deviations": Range(),
}  # fmt: skip


def range_of(feature: Feature) -> Range:
    """The range of one entry of the catalogue; of any number at all if its unit is not known here."""
    found = _BY_NAME.get(feature.name) if feature.entity == "transaction" else None
    return found or _BY_UNIT.get(feature.unit, Range())
