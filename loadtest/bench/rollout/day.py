"""A simulated day of payments with two models' decisions, and a rollout over it: the product's own plan, counts, checks and moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from loadtest.traffic.simulator import create_world, history_table
from models.rollout.checks import checks
from models.rollout.counts import Arms, Labelled, Pair, Pairs, Seen
from models.rollout.plan import Plan
from models.rollout.progress import Measured, advance, begin, loaded, share_of, step_of
from models.rollout.run import Run

START = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)
#: the process looks once a second; here after so many payments
LOOK_EVERY = 400
#: of the frauds the champion declines and reviews these shares, of the honest payments those
FRAUD_DECLINED, FRAUD_REVIEWED, HONEST_DECLINED, HONEST_REVIEWED = 0.5, 0.3, 0.0005, 0.006
#: share of payments on which a model that is only alike draws its own decision
REDRAWN = 0.15
Kind = Literal[
    "identical", "alike", "declines doubled", "recall halved", "recall halved, same declines", "fails", "slow"
]
HARMFUL: tuple[Kind, ...] = (
    "declines doubled",
    "recall halved",
    "recall halved, same declines",
    "fails",
    "slow",
)


@dataclass(frozen=True)
class Day:
    """n payments in the order of event time. ``at_s``: float64 (n,), seconds since the day began."""

    cards: list[str]
    currencies: list[str]
    amounts_minor: list[int]
    fraud: npt.NDArray[np.bool_]
    at_s: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ended:
    """How a rollout ended. ``seen``: share of the day's payments that the challenger decided; ``hours`` since its start."""

    state: str
    step: int
    why: str
    seen: float
    hours: float


def make_day(payments: int, cards: int, seed: int) -> Day:
    """A day of the simulator's traffic."""
    table = history_table(create_world(seed, cards), START, START + DAY, count=payments)
    times = table["event_time"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    return Day(
        table["card_id"].to_pylist(), table["currency"].to_pylist(), table["amount_minor"].to_pylist(),
        table["is_fraud"].to_numpy(zero_copy_only=False).astype(bool), (times - times[0]) / 1000.0,
    )  # fmt: skip


def roll_out(day: Day, kind: Kind, plan: Plan, seed: int, label_delay: timedelta) -> Ended:
    """Roll a challenger of a kind out over the day, from its first payment on."""
    rng = np.random.default_rng([seed, 0x_407])
    draws = rng.random(len(day.cards))
    champion = _codes(day.fraud, draws, rng)
    challenger = _challenger(kind, day.fraud, draws, champion, rng)
    theirs, ours = _scores(champion, rng), _scores(challenger, rng)
    if kind == "identical":
        ours = theirs
    slow = 3.0 if kind == "slow" else 1.0
    latencies = rng.lognormal(1.5, 0.6, len(day.cards))
    run = loaded(begin(f"{seed:032x}", plan, "1.0.0", "1.1.0", "bench", START), START).run
    since, counts, decided, waiting = START, _counts(run), 0, _Labels(day, label_delay)
    for first in range(0, len(day.cards), LOOK_EVERY):
        rows = range(first, min(first + LOOK_EVERY, len(day.cards)))
        now = START + timedelta(seconds=float(day.at_s[rows[-1]]))
        if isinstance(counts, Pairs):
            for i in rows:
                counts.add(
                    Pair(day.cards[i], int(champion[i]), int(challenger[i]), theirs[i], ours[i], day.amounts_minor[i], day.currencies[i])
                )  # fmt: skip
            seen = counts.decisions
        else:
            before = counts.decisions["challenger"]
            for i in rows:
                card = day.cards[i]
                mine = counts.arm(card) == "challenger"
                fails = mine and challenger[i] < 0
                code = int(challenger[i] if mine and not fails else champion[i])
                score = ours[i] if mine else theirs[i]
                latency = latencies[i] * (slow if mine else 1.0)
                by = "challenger" if mine and not fails else "champion"
                counts.add(Seen(card, by, code, score, latency))
                waiting.decided(i, code)
            for label in waiting.due(now):
                counts.add_label(label)
            seen = counts.decisions["challenger"]
            decided += seen - before
        measured = Measured(seen, now if seen else None, checks(plan, step_of(run), counts))
        move = advance(run, since, measured, now)
        if move is None:
            continue
        if move.end or move.run.pause:
            state = move.end or f"paused ({move.run.pause})"
            return Ended(state, run.step, move.why, decided / len(day.cards), _hours(now))
        run, since, counts = move.run, now, _counts(move.run)
    return Ended("day over", run.step, "", decided / len(day.cards), 24.0)


class _Labels:
    """Labels of decided payments, each ``delay`` after its payment; a declined payment gets none, as in life."""

    def __init__(self, day: Day, delay: timedelta) -> None:
        self._day, self._delay_s = day, delay.total_seconds()
        self._open: list[tuple[int, int]] = []
        self._next = 0

    def decided(self, row: int, code: int) -> None:
        if code < 2 and self._day.fraud[row]:
            self._open.append((row, code))

    def due(self, now: datetime) -> Iterator[Labelled]:
        until_s = (now - START).total_seconds() - self._delay_s
        while self._next < len(self._open) and self._day.at_s[self._open[self._next][0]] <= until_s:
            row, code = self._open[self._next]
            self._next += 1
            yield Labelled(self._day.cards[row], code, True)


def _counts(run: Run) -> Arms | Pairs:
    return Pairs() if step_of(run).kind == "shadow" else Arms(run.id, share_of(run))


def _codes(
    fraud: npt.NDArray[np.bool_], draws: npt.NDArray[np.float64], _rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    declined = np.where(fraud, FRAUD_DECLINED, HONEST_DECLINED)
    reviewed = np.where(fraud, FRAUD_REVIEWED, HONEST_REVIEWED)
    return np.where(draws < declined, 2, np.where(draws < declined + reviewed, 1, 0)).astype(np.int8)


def _challenger(
    kind: Kind, fraud: npt.NDArray[np.bool_], draws: npt.NDArray[np.float64], champion: npt.NDArray[np.int8], rng: np.random.Generator
) -> npt.NDArray[np.int8]:  # fmt: skip
    codes = champion.copy()
    if kind == "alike":
        redrawn = rng.random(len(codes)) < REDRAWN
        return _codes(fraud, np.where(redrawn, rng.random(len(codes)), draws), rng)
    if kind == "declines doubled":
        approved = np.flatnonzero(champion == 0)
        codes[rng.choice(approved, int((champion == 2).sum()), replace=False)] = 2
    if kind.startswith("recall halved"):
        forgotten = fraud & (champion > 0) & (rng.random(len(codes)) < 0.5)
        if kind == "recall halved, same declines":
            # as many honest payments are stopped in place of the frauds
            instead = rng.choice(
                np.flatnonzero(~fraud & (champion == 0)), int(forgotten.sum()), replace=False
            )
            codes[instead] = champion[forgotten]
        codes[forgotten] = 0
    if kind == "fails":
        codes[rng.random(len(codes)) < 0.1] = -1
    return codes


def _scores(codes: npt.NDArray[np.int8], rng: np.random.Generator) -> list[float]:
    """Scores that fit the decisions: near 0, in the middle, near 1."""
    shape = np.array([[0.2, 12.0], [8.0, 6.0], [12.0, 1.5]])[np.maximum(codes, 0)]
    found: list[float] = rng.beta(shape[:, 0], shape[:, 1]).tolist()
    return found


def _hours(now: datetime) -> float:
    return (now - START).total_seconds() / 3600
