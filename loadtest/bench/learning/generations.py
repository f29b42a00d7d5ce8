"""Generations of retraining on traffic whose declined payments have no outcome, with the engine, the trainer and the draws of the product.

Each week a model is trained on what is known of the weeks before, and decides the week. A payment that it declines gets no label, as in
life. What is learnt from such payments is the treatment. All treatments see the same payments; labels and declines are features too, so each
has its own state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from features.replay import Replay
from loadtest.traffic.simulator import Plan, create_world, history_table
from models.performance.ratio import Ratio, share
from models.policy.exploration import ExplorationTerms, Explorer
from models.policy.policy import CODES
from models.training.dataset import DAY_MS, Dataset, FloatArray, known_rows, milliseconds
from models.training.evaluation import average_precision
from models.training.label_states import Stated, label_states, weights_of
from models.training.learners.parameters import Parameters
from models.training.training import Trained, train

#: what is learnt of a declined payment: its true label, as if it were known; from those let through; what its score said, as training does
#: without exploration; nothing; that it was honest
Treatment = Literal["all known", "explored", "inferred", "left out", "as honest"]
TREATMENTS: tuple[Treatment, ...] = ("all known", "explored", "inferred", "left out", "as honest")
START = datetime(2026, 1, 5, tzinfo=UTC)
#: weeks before the first model, in which nothing is declined; weeks that a model learns from
WARM_WEEKS, LEARN_WEEKS = 6, 4
DECLINE = CODES["decline"]

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How much traffic. ``share`` of the would-be declines is let through to review, up to ``cap_minor`` a day in each currency."""

    generations: int = 10
    cards: int = 5_000
    payments_a_week: int = 30_000
    fraud_rate: float = 0.01
    share: float = 0.1
    cap_minor: int = 10_000_000
    seed: int = 1
    parameters: Parameters = field(default_factory=lambda: Parameters(rounds=100))


@dataclass(frozen=True)
class Generation:
    """One week under one model, by the truth. ``stopped`` and ``fraud`` (n,): by the policy alone, before anything is let through;
    ``card`` (n,) codes. ``learnt_rows``: those that its model learnt from.
    """

    fraud: Flags
    stopped: Flags
    card: npt.NDArray[np.int64]
    average_precision: float
    declined: int
    let_through: int
    let_through_frauds: int
    learnt_rows: int
    learnt_frauds: int

    @property
    def recall(self) -> Ratio:
        """The share of frauds that were stopped, with its interval."""
        return share(self.fraud & self.stopped, self.fraud, self.card)

    @property
    def precision(self) -> Ratio:
        """The share of frauds among what was stopped."""
        return share(self.fraud & self.stopped, self.stopped, self.card)


class Traffic:
    """The payments of all weeks in order of time, the same for every treatment."""

    def __init__(self, size: Size) -> None:
        world = create_world(size.seed, size.cards)
        self.weeks = WARM_WEEKS + size.generations
        self.table = history_table(
            world, START, START + timedelta(weeks=self.weeks), plan=Plan(fraud_rate=size.fraud_rate),
            count=size.payments_a_week * self.weeks,
        )  # fmt: skip
        self.event_ms = milliseconds(self.table["event_time"])
        self.label_ms = milliseconds(self.table["label_time"])
        self.label = self.table["label"].to_numpy(zero_copy_only=False)
        self.fraud: Flags = self.table["is_fraud"].to_numpy(zero_copy_only=False).astype(bool)
        self.card = self.table["card_id"].combine_chunks()
        self.card_codes = self.card.dictionary_encode().indices.to_numpy().astype(np.int64)
        self.amount = self.table["amount_minor"].to_pylist()
        self.currency = self.table["currency"].to_pylist()
        self.currencies = pc.unique(self.table["currency"]).to_pylist()
        start_ms = int(START.timestamp() * 1000)
        edges = start_ms + DAY_MS * np.arange(7 * self.weeks + 1)
        #: the first row of each day
        self.days = np.searchsorted(self.event_ms, edges).tolist()
        self.start_ms = start_ms


class Life:
    """All weeks under one treatment."""

    def __init__(self, traffic: Traffic, treatment: Treatment, size: Size) -> None:
        rows = len(traffic.event_ms)
        self._traffic, self._treatment, self._size = traffic, treatment, size
        self._going = Replay(traffic.table)
        self._blocks: list[FloatArray] = []
        self._declined = np.zeros(rows, bool)
        self._propensity = np.full(rows, np.nan)
        self._chance = np.full(rows, np.nan, np.float32)
        terms = ExplorationTerms(
            share=size.share if treatment == "explored" else 0.0,
            cap_minor_per_day=dict.fromkeys(traffic.currencies, size.cap_minor),
        )
        self._explorer = Explorer(terms, traffic.start_ms, draw=Random(size.seed).random)

    def generations(self) -> list[Generation]:
        """Live through all weeks."""
        out = []
        for week in range(self._traffic.weeks):
            model = None if week < WARM_WEEKS else self._trained(week)
            found = [self._day(day, model[0] if model else None) for day in range(7 * week, 7 * week + 7)]
            # features of older weeks are not learnt from again
            self._blocks = self._blocks[-7 * (LEARN_WEEKS + 1) :]
            if model is not None:
                out.append(self._generation(week, found, model[1]))
        return out

    def _trained(self, week: int) -> tuple[Trained, Dataset]:
        """A model of what is known when a week begins."""
        traffic = self._traffic
        last, first = 7 * week, 7 * (week - LEARN_WEEKS - 1)
        rows = slice(traffic.days[first], traffic.days[last])
        as_of_ms = traffic.start_ms + last * DAY_MS
        known = np.ones(len(traffic.event_ms), bool) if self._treatment == "all known" else ~self._declined
        label, declined = traffic.label[rows], self._declined[rows]
        stated = Stated(
            (label == "fraud") & known[rows], (label == "legit") & known[rows], traffic.label_ms[rows]
        )
        censored = self._treatment in ("explored", "inferred", "left out")
        labels = label_states(
            stated,
            traffic.event_ms[rows],
            as_of_ms,
            silence="honest",
            declined=declined if censored else None,
        )
        data = known_rows(
            np.concatenate(self._blocks[-7 * (LEARN_WEEKS + 1) :]), labels, traffic.card[rows],
            weight=weights_of(self._propensity[rows], declined),
            chance=self._chance[rows] if self._treatment == "inferred" else None,
        )  # fmt: skip
        return train(data, self._size.parameters, policy_version=str(week)), data

    def _day(self, day: int, model: Trained | None) -> tuple[FloatArray, npt.NDArray[np.int8], int, int]:
        """Scores and codes of a day's rows by the policy, and how many payments and frauds were let through."""
        traffic = self._traffic
        begin, end = traffic.days[day], traffic.days[day + 1]
        block = self._going.until(end)
        self._blocks.append(block)
        scores = np.zeros(end - begin, np.float32)
        codes = np.zeros(end - begin, np.int8)
        passed = frauds = 0
        if model is not None:
            scores = model.score(block)
            codes, _ = model.policy.decide(scores, block, now_ms=0.0)
            self._chance[begin:end] = scores
            for row in (begin + np.flatnonzero(codes == DECLINE)).tolist():
                drawn = self._explorer.of(
                    "default", traffic.currency[row], traffic.amount[row], int(traffic.event_ms[row])
                )
                if drawn is not None:
                    self._propensity[row] = drawn.exploration.propensity
                if drawn is not None and drawn.into is not None:
                    passed, frauds = passed + 1, frauds + int(traffic.fraud[row])
                else:
                    self._declined[row] = True
        self._tell(begin, end)
        return scores, codes, passed, frauds

    def _tell(self, begin: int, end: int) -> None:
        """What becomes known of a day's payments, and when."""
        traffic = self._traffic
        declined = begin + np.flatnonzero(self._declined[begin:end])
        self._going.declines(declined, traffic.event_ms[declined])
        told = traffic.label[begin:end] == "fraud"
        if self._treatment != "all known":
            told &= ~self._declined[begin:end]
        rows = begin + np.flatnonzero(told)
        self._going.frauds(rows, traffic.label_ms[rows])

    def _generation(self, week: int, days: list[Any], data: Dataset) -> Generation:
        traffic = self._traffic
        rows = slice(traffic.days[7 * week], traffic.days[7 * week + 7])
        scores, codes = (np.concatenate([day[place] for day in days]) for place in (0, 1))
        fraud = traffic.fraud[rows]
        return Generation(
            fraud=fraud, stopped=codes > 0, card=traffic.card_codes[rows],
            average_precision=average_precision(fraud, scores) or 0.0, declined=int((codes == DECLINE).sum()),
            let_through=sum(day[2] for day in days), let_through_frauds=sum(day[3] for day in days),
            learnt_rows=len(data), learnt_frauds=data.frauds,
        )  # fmt: skip


def live(treatment: Treatment, size: Size) -> list[Generation]:
    """The generations under one treatment."""
    return Life(Traffic(size), treatment, size).generations()
