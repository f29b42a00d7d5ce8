"""What a drift probably comes from. Pure.

A broken producer must be mended, and a new model would learn its fault; an attack needs a rule today and a model once its labels are
there; another population needs a model. So the three are told apart, with the figures that say so. Seasons are no cause here: the
reference is taken at the window's time of day and kind of day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CauseKind = Literal["producer", "attack", "population"]

#: an amount in another unit is a power of ten away; medians of honest payments differ by less than this, as a logarithm to base 10
_UNIT_NEAR = 0.06
_UNITS = (-3, -2, -1, 1, 2, 3)
#: what an attack adds at least, as a share of all payments
_ADDED = 0.02
_ADDED_STOPS = 0.01


@dataclass(frozen=True)
class Change:
    """A figure of the reference and of the window."""

    before: float
    now: float

    @property
    def doubled(self) -> bool:
        return self.now >= 2 * self.before

    @property
    def added(self) -> float:
        return self.now - self.before


@dataclass(frozen=True)
class Signs:
    """What a window that drifts looks like beside the reference.

    ``emptied``: fields that a producer leaves empty. ``drifting``: columns with a confirmed drift. ``amount``: median, minor units.
    ``crowded``: share of payments from a device that several customers' cards used within a day. ``new_device``: share of payments from
    a device that is new to its card. ``stopped``: share of payments that are reviewed or declined. None: it cannot be compared.
    """

    emptied: tuple[str, ...]
    drifting: frozenset[str]
    amount: Change | None
    crowded: Change | None
    new_device: Change | None
    stopped: Change | None


@dataclass(frozen=True)
class Cause:
    """The likely cause. ``why``: the figures, for people."""

    kind: CauseKind
    why: str


def likely_cause(signs: Signs) -> Cause:
    """The first of producer, attack and population that the signs speak for."""
    effect = _effect(signs.stopped)
    if signs.emptied:
        return Cause("producer", f"{', '.join(signs.emptied)} turned empty{effect}")
    unit = _other_unit(signs)
    if unit is not None and signs.amount is not None:
        medians = f"median {signs.amount.before:,.0f} before, {signs.amount.now:,.0f} now"
        return Cause("producer", f"amounts are {unit} as large: another unit? ({medians}){effect}")
    crowded, strangers = signs.crowded, signs.new_device
    if crowded is not None and crowded.doubled and crowded.added >= _ADDED:
        return Cause(
            "attack", f"{_share(crowded)} of the payments come from devices that many cards use{effect}"
        )
    # who moves from shops to online shops brings new devices too, and many more payments change their channel
    if (
        strangers is not None and strangers.doubled and strangers.added >= _ADDED and "channel" not in signs.drifting
        and signs.stopped is not None and signs.stopped.doubled and signs.stopped.added >= _ADDED_STOPS
    ):  # fmt: skip
        return Cause(
            "attack", f"{_share(strangers)} of the payments come from devices new to their card{effect}"
        )
    named = ", ".join(sorted(signs.drifting - {"*"})) or "all columns together"
    return Cause("population", f"other payments than the model was trained on, by {named}{effect}")


def _other_unit(signs: Signs) -> str | None:
    """How many times as large amounts are, if that is a power of ten; else None."""
    amount = signs.amount
    if amount is None or "amount" not in signs.drifting or min(amount.before, amount.now) <= 0:
        return None
    exponent = math.log10(amount.now / amount.before)
    for unit in _UNITS:
        if abs(exponent - unit) <= _UNIT_NEAR:
            return f"{10**unit:g} times"
    return None


def _share(change: Change) -> str:
    return f"{change.now:.1%} ({change.before:.1%} before)"


def _effect(stopped: Change | None) -> str:
    if stopped is None:
        return ""
    return f"; {stopped.now:.1%} are reviewed or declined ({stopped.before:.1%} before)"
