"""Exploration: a small share of the payments that would be declined is let through, so that their outcome becomes known. Pure.

A declined payment has no outcome: nobody can say whether it was fraud. A model that only learns from payments that were let through
knows less and less of what it stops. So a share of them, drawn at random, goes to review or is approved. The draw's chance (propensity) is
in the decision, and each payment that was let through stands for 1 / propensity of its kind in training and evaluation.

Source of the weights: Horvitz and Thompson 1952; of exploration in decisions that hide outcomes: Bottou and others 2013,
"Counterfactual reasoning and learning systems".
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from models.decision import Decision, DecisionName, Exploration, Reason

DAY_MS = 86_400_000
#: below it, one payment would stand for more than a thousand
MIN_SHARE = 0.001
REASON = "EXPLORATION"

Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Money = Annotated[int, Meta(ge=0, le=10**15)]


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tenant risks. ``share``: of the would-be declines, 0: none; ``into``: what those let through become.

    ``cap_minor_per_day``: by currency, in minor units: the money let through in a UTC day. A currency without one is not explored.
    """

    share: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    into: Literal["review", "approve"] = "review"
    cap_minor_per_day: dict[Currency, Money] = {}

    def __post_init__(self) -> None:
        if 0 < self.share < MIN_SHARE:
            raise ValueError(f"share is 0 (off) or at least {MIN_SHARE}, not {self.share}")
        if self.share and not self.cap_minor_per_day:
            raise ValueError("a share above 0 needs cap_minor_per_day, such as { EUR = 50000 }")


class ExplorationTerms(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[exploration]`` of the settings: terms of all tenants but those in ``tenants``, who have their own. Off by default."""

    tenants: dict[str, Terms] = {}

    def of(self, tenant: str) -> Terms:
        """The terms of one tenant."""
        return self.tenants.get(tenant, self)

    @property
    def on(self) -> bool:
        """Whether any tenant explores."""
        return any(terms.share for terms in (self, *self.tenants.values()))


OFF = ExplorationTerms()


class Drawn(NamedTuple):
    """What the draw says of one would-be decline. ``into``: what it becomes; None: it stays declined."""

    exploration: Exploration
    into: DecisionName | None


@dataclass
class _Purse:
    """Money that one tenant may still let through in one currency, minor units."""

    saved: float
    since_ms: float


class Explorer:
    """Draws for one process.

    The day's cap accrues evenly through the UTC day and starts empty, at midnight and with the process. So the money that is let
    through in a day stays within the cap without anything being stored, however often a process starts again; it may be less.
    """

    def __init__(
        self,
        terms: ExplorationTerms,
        began_ms: float,
        *,
        parts: int = 1,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``parts``: how many processes share the cap; ``draw``: uniform in [0, 1)."""
        if parts < 1:
            raise ValueError(f"the cap is shared by 1 or more processes, not {parts}")
        self._terms, self._began_ms, self._parts, self._draw = terms, began_ms, parts, draw
        self._purses: dict[tuple[str, str], _Purse] = {}
        # the edge decides large batches on another thread
        self._lock = threading.Lock()

    def of(self, tenant: str, currency: str, amount_minor: int, now_ms: float) -> Drawn | None:
        """Draw for a payment that would be declined; None where its tenant does not explore.

        Its propensity is 0 where it costs more than has accrued. ``now_ms``: since 1970.
        """
        terms = self._terms.of(tenant)
        if not terms.share:
            return None
        cap = terms.cap_minor_per_day.get(currency, 0) / self._parts
        with self._lock:
            purse = self._filled(tenant, currency, cap, now_ms)
            if amount_minor > purse.saved:
                return Drawn(Exploration("decline", 0.0), None)
            exploration = Exploration("decline", terms.share)
            if self._draw() >= terms.share:
                return Drawn(exploration, None)
            purse.saved -= amount_minor
        return Drawn(exploration, terms.into)

    def _filled(self, tenant: str, currency: str, cap: float, now_ms: float) -> _Purse:
        purse = self._purses.get((tenant, currency))
        if purse is None:
            purse = self._purses[tenant, currency] = _Purse(0.0, self._began_ms)
        midnight = now_ms // DAY_MS * DAY_MS
        if purse.since_ms < midnight:
            purse.saved, purse.since_ms = 0.0, midnight
        if now_ms > purse.since_ms:
            purse.saved += cap * (now_ms - purse.since_ms) / DAY_MS
            purse.since_ms = now_ms
        return purse


def explored(decision: Decision, drawn: Drawn) -> None:
    """Write a draw into a decision; one that is let through says so before all other reasons."""
    decision.exploration = drawn.exploration
    if drawn.into is not None:
        decision.decision = drawn.into
        text = f"the policy says {drawn.exploration.would_be}; one of a small share that is let through to learn their outcome"
        decision.reasons = [Reason(REASON, text), *decision.reasons]
