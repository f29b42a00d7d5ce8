"""What a rollout's step has seen: counts of the two arms' decisions, or of two models' decisions on the same payments. Pure.

Payments of one card are not independent: a stolen card is declined twenty times. So events are counted by card, each card once for
each kind of event, and scores are those of a card's first payment. Nothing grows without bound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Literal, NamedTuple, get_args

from models.rollout.arms import CHALLENGER, Arm, arm_of

#: bounds of the bins of scores. Scores of honest payments are near 0, where two models differ without any effect: they share a bin
SCORE_EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
#: cards whose arm is remembered: the hash costs more than the rest of counting a decision
MAX_ARMS = 200_000
#: cards whose first score is counted, of each arm
MAX_SCORED_CARDS = 20_000
#: cards with an event, of each kind; later ones are not counted
MAX_EVENT_CARDS = 500_000
#: cards whose first fraud is counted as money, of each currency and arm; and the largest amount that counts, minor units: beyond it one
#: payment would decide for all
MAX_MONEY_CARDS, MAX_MONEY_MINOR = 5_000, 100_000
#: currencies whose money is counted; more are not expected of one rollout, and the sums stand in its record, whose length is bounded
MAX_CURRENCIES = 32
#: of each arm, decisions that make one comparison of latencies
LATENCY_BLOCK = 200
_MAX_BLOCK = 50_000
_MAX_BLOCKS = 10_000

Event = Literal["decline", "review", "missed_fraud", "caught_fraud"]


class Seen(NamedTuple):
    """A decision as the counts need it. ``decided`` is a position in ``models.decision.DECISIONS``; ``by`` the arm that decided."""

    card_id: str
    by: str
    decided: int
    score: float | None
    latency_ms: float
    #: the model that should have scored it did
    scored: bool = True


class Labelled(NamedTuple):
    """A decision whose label is known."""

    card_id: str
    decided: int
    fraud: bool
    #: minor units of ``currency``; None where older code wrote the outcome
    amount_minor: int | None = None
    currency: str | None = None


class Pair(NamedTuple):
    """What both models say about a payment; the challenger's decision is -1 where it failed."""

    card_id: str
    champion: int
    challenger: int
    champion_score: float | None
    challenger_score: float | None
    amount_minor: int
    currency: str


class Cards:
    """Cards by arm, each once."""

    def __init__(self, limit: int = MAX_EVENT_CARDS) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self.champion = 0
        self.challenger = 0

    def add(self, card_id: str, arm: Arm) -> bool:
        """Whether the card is new and was counted."""
        if card_id in self._known or len(self._known) >= self._limit:
            return False
        self._known.add(card_id)
        if arm == CHALLENGER:
            self.challenger += 1
        else:
            self.champion += 1
        return True


class Money:
    """First frauds of cards in one currency, by arm: amounts up to MAX_MONEY_MINOR, and whether they were stopped."""

    def __init__(self) -> None:
        self._cards = Cards(2 * MAX_MONEY_CARDS)
        self.frauds: dict[Arm, list[tuple[int, bool]]] = {"champion": [], "challenger": []}

    def add(self, card_id: str, arm: Arm, amount_minor: int, stopped: bool) -> None:
        if len(self.frauds[arm]) < MAX_MONEY_CARDS and self._cards.add(card_id, arm):
            self.frauds[arm].append((min(amount_minor, MAX_MONEY_MINOR), stopped))


def _bins() -> list[int]:
    return [0] * (len(SCORE_EDGES) + 1)


@dataclass
class Scores:
    """Two histograms of scores over ``SCORE_EDGES``."""

    champion: list[int] = field(default_factory=_bins)
    challenger: list[int] = field(default_factory=_bins)

    def add(self, arm: Arm, score: float) -> None:
        (self.challenger if arm == CHALLENGER else self.champion)[bisect_right(SCORE_EDGES, score)] += 1


class Arms:
    """Counts of one step in which the challenger has ``share`` of the cards; ``salt``: of the rollout.

    Decisions are counted for the arm that their card belongs to, whoever made them: a challenger that fails hands its payments to the
    champion, and would otherwise vanish from its own figures.
    """

    def __init__(self, salt: str, share: float) -> None:
        self.salt, self.share = salt, share
        self.decisions: dict[Arm, int] = {"champion": 0, "challenger": 0}
        self.errors = 0
        self.events: dict[Event, Cards] = {name: Cards() for name in get_args(Event)}
        self.scores = Scores()
        #: p99 of the champion and of the challenger in each block, ms
        self.latencies: list[tuple[float, float]] = []
        #: reviewed payments with a label, of each arm: frauds and all
        self.reviewed: dict[Arm, list[int]] = {"champion": [0, 0], "challenger": [0, 0]}
        #: by currency
        self.money: dict[str, Money] = {}
        self._arms: dict[str, Arm] = {}
        self._scored = {"champion": Cards(MAX_SCORED_CARDS), "challenger": Cards(MAX_SCORED_CARDS)}
        self._block: dict[Arm, list[float]] = {"champion": [], "challenger": []}

    def arm(self, card_id: str) -> Arm:
        """The arm that a card belongs to."""
        known = self._arms.get(card_id)
        if known is None:
            if len(self._arms) >= MAX_ARMS:
                self._arms.clear()
            known = self._arms[card_id] = arm_of(self.salt, card_id, self.share)
        return known

    def add(self, seen: Seen) -> None:
        """Count one decision."""
        arm = self.arm(seen.card_id)
        self.decisions[arm] += 1
        if arm == CHALLENGER and (seen.by != CHALLENGER or not seen.scored):
            self.errors += 1
        if seen.decided:
            self.events["decline" if seen.decided == 2 else "review"].add(seen.card_id, arm)
        if seen.score is not None and seen.by == arm and self._scored[arm].add(seen.card_id, arm):
            self.scores.add(arm, seen.score)
        self._time(arm, seen.latency_ms)

    def add_label(self, seen: Labelled) -> None:
        """Count one label of a decision of this step."""
        arm = self.arm(seen.card_id)
        if seen.fraud:
            self.events["caught_fraud" if seen.decided else "missed_fraud"].add(seen.card_id, arm)
            if seen.amount_minor is not None and seen.currency is not None:
                self._add_money(seen.currency, seen.card_id, arm, seen.amount_minor, seen.decided > 0)
        if seen.decided == 1:
            self.reviewed[arm][0] += seen.fraud
            self.reviewed[arm][1] += 1

    def _add_money(self, currency: str, card_id: str, arm: Arm, amount_minor: int, stopped: bool) -> None:
        money = self.money.get(currency)
        if money is None:
            if len(self.money) >= MAX_CURRENCIES:
                return
            money = self.money[currency] = Money()
        money.add(card_id, arm, amount_minor, stopped)

    def _time(self, arm: Arm, latency_ms: float) -> None:
        ours = self._block[arm]
        if len(ours) < _MAX_BLOCK:
            ours.append(latency_ms)
        champions, challengers = self._block["champion"], self._block["challenger"]
        # with all cards there is no champion to compare with, only a limit in ms
        enough = len(champions) >= LATENCY_BLOCK or self.share >= 1
        if len(challengers) >= LATENCY_BLOCK and enough and len(self.latencies) < _MAX_BLOCKS:
            self.latencies.append((_p99(champions), _p99(challengers)))
            self._block = {"champion": [], "challenger": []}


class Pairs:
    """Counts of a step in which the challenger scores beside the champion."""

    def __init__(self) -> None:
        self.decisions = 0
        self.errors = 0
        self.dropped = 0
        #: cards with the event by both models, by the champion alone, by the challenger alone
        self.events: dict[Literal["decline", "review"], list[int]] = {
            "decline": [0, 0, 0],
            "review": [0, 0, 0],
        }
        #: cards, and those of them on whose first payment the models differ
        self.first: list[int] = [0, 0]
        #: cards that the champion declined, and those of them that the challenger declines or reviews too
        self.kept: list[int] = [0, 0]
        self.scores = Scores()
        #: money that the challenger stops and the champion does not, less the reverse, minor units by currency
        self.moved_minor: dict[str, int] = {}
        self._known = {"decline": Cards(), "review": Cards(), "kept": Cards(), "first": Cards()}

    def add(self, pair: Pair) -> None:
        """Count one payment."""
        self.decisions += 1
        if pair.challenger < 0:
            self.errors += 1
            return
        card, ours, theirs = pair.card_id, pair.challenger, pair.champion
        if self._known["first"].add(card, CHALLENGER):
            self._first(pair)
        for name, code in (("decline", 2), ("review", 1)):
            if (ours == code or theirs == code) and self._known[name].add(card, CHALLENGER):
                self.events[name][0 if ours == theirs else 1 if theirs == code else 2] += 1  # type: ignore[index]
        if theirs == 2 and self._known["kept"].add(card, CHALLENGER):
            self.kept[0] += 1
            self.kept[1] += ours > 0
        if (ours > 0) != (theirs > 0):
            moved = self.moved_minor
            if pair.currency in moved or len(moved) < MAX_CURRENCIES:
                sign = 1 if ours else -1
                moved[pair.currency] = moved.get(pair.currency, 0) + sign * pair.amount_minor

    def add_all(self, pairs: Iterable[Pair], dropped: int = 0) -> None:
        """Count a batch, before which ``dropped`` payments were left out."""
        self.dropped += dropped
        for pair in pairs:
            self.add(pair)

    def _first(self, pair: Pair) -> None:
        self.first[0] += 1
        self.first[1] += pair.champion != pair.challenger
        if pair.champion_score is not None and pair.challenger_score is not None:
            self.scores.add("champion", pair.champion_score)
            self.scores.add("challenger", pair.challenger_score)


def _p99(values: list[float]) -> float:
    return sorted(values)[ceil(0.99 * len(values)) - 1] if values else 0.0
