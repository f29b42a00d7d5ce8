"""Guards on a step's counts: each gives one of four results. Pure.

``fail``: it is proven that the limit is broken. ``pass``: it is proven that it is kept. ``too_few``: there is next to nothing to say;
``inconclusive``: there are figures, and they prove neither. The intervals hold at any moment, so a guard may be looked at all the time.
"""

from __future__ import annotations

import math

import numpy as np

from models.rollout.arms import Arm
from models.rollout.counts import MAX_MONEY_MINOR, Arms, Event, Money, Pairs
from models.rollout.plan import Guard, Metric, Plan, Step
from models.rollout.run import Check, Result
from models.rollout.sequences import (
    Interval,
    Sums,
    log_evidence,
    rate,
    ratio_of_arms,
    ratio_of_pairs,
    ratio_of_rates,
    ratio_of_sums,
    stability,
)

#: fewer observations than this say next to nothing, whatever they are
FEW = 20
#: a block of decisions whose p99 is above the limit in more than half of all blocks: the limit is broken
_USUAL = 0.5
_EVENTS: dict[Metric, Event] = {
    "decline_rate": "decline", "review_rate": "review", "missed_fraud": "missed_fraud", "caught_fraud": "caught_fraud",
}  # fmt: skip
_UNKNOWN = Interval(math.nan, -math.inf, math.inf)


def checks(plan: Plan, step: Step, counts: Arms | Pairs) -> tuple[Check, ...]:
    """The results of all guards that a step can measure."""
    guards = plan.guards_of(step)
    # every guard of every step may look as often as it likes; together they err with a probability of alpha at most
    alpha = plan.alpha / max(1, sum(len(plan.guards_of(one)) for one in plan.steps))
    return tuple(_check(guard, counts, alpha) for guard in guards if _measurable(guard, counts))


def figures(counts: Arms | Pairs) -> dict[str, float]:
    """What people want to see beside the checks; nothing is decided by them.

    Of a shadow: changed decisions, McNemar's p-value on the declines (at any moment of looking), and money that the challenger stops
    and the champion does not, less the reverse, in minor units by currency.
    """
    if isinstance(counts, Arms):
        return {f"decisions_{arm}": float(n) for arm, n in counts.decisions.items()}
    _, champion_only, challenger_only = counts.events["decline"]
    n = champion_only + challenger_only
    return {
        "decisions": float(counts.decisions),
        "dropped": float(counts.dropped),
        "cards": float(counts.first[0]),
        "changed_cards": float(counts.first[1]),
        "declined_by_champion_only": float(champion_only),
        "declined_by_challenger_only": float(challenger_only),
        "mcnemar_p": min(1.0, math.exp(-log_evidence(challenger_only, n, 0.5))) if n else 1.0,
        **{f"moved_minor_{currency}": float(minor) for currency, minor in sorted(counts.moved_minor.items())},
    }


def _measurable(guard: Guard, counts: Arms | Pairs) -> bool:
    """A ratio of two arms needs two arms: at a share of 1 there is one."""
    if isinstance(counts, Pairs) or counts.share < 1:
        return True
    return guard.compared == "absolute" and guard.metric != "score_psi"


def _check(guard: Guard, counts: Arms | Pairs, alpha: float) -> Check:
    if guard.metric == "latency_p99_ms" and isinstance(counts, Arms):
        return _latency(guard, counts, alpha)
    n, found = (
        _of_pairs(guard, counts, alpha) if isinstance(counts, Pairs) else _of_arms(guard, counts, alpha)
    )
    top = guard.max if guard.max is not None else math.inf
    bottom = guard.min if guard.min is not None else -math.inf
    result: Result = "inconclusive" if n >= FEW else "too_few"
    if found.low > top or found.high < bottom:
        result = "fail"
    elif found.high <= top and found.low >= bottom:
        result = "pass"
    return _told(guard, result, n, found)


def _of_pairs(guard: Guard, counts: Pairs, alpha: float) -> tuple[int, Interval]:
    match guard.metric:
        case "decline_rate" | "review_rate":
            both, theirs, ours = counts.events["decline" if guard.metric == "decline_rate" else "review"]
            return both + theirs + ours, ratio_of_pairs(both, theirs, ours, alpha)
        case "kept_declines":
            return counts.kept[0], rate(counts.kept[1], counts.kept[0], alpha)
        case "changed_decisions":
            return counts.first[0], rate(counts.first[1], counts.first[0], alpha)
        case "error_rate":
            return counts.decisions, rate(counts.errors, counts.decisions, alpha)
        case "score_psi":
            return sum(counts.scores.challenger), stability(
                counts.scores.champion, counts.scores.challenger, alpha
            )
        case _:
            return 0, _UNKNOWN


def _of_arms(guard: Guard, counts: Arms, alpha: float) -> tuple[int, Interval]:
    match guard.metric:
        case "decline_rate" | "review_rate" | "missed_fraud" | "caught_fraud":
            cards = counts.events[_EVENTS[guard.metric]]
            return cards.challenger + cards.champion, ratio_of_arms(
                cards.challenger, cards.champion, counts.share, alpha
            )
        case "error_rate":
            n = counts.decisions["challenger"]
            return n, rate(counts.errors, n, alpha)
        case "score_psi":
            n = min(sum(counts.scores.challenger), sum(counts.scores.champion))
            return n, stability(counts.scores.champion, counts.scores.challenger, alpha)
        case "precision":
            reviewed, theirs_reviewed = counts.reviewed["challenger"], counts.reviewed["champion"]
            return reviewed[1], ratio_of_rates(
                (reviewed[0], reviewed[1]), (theirs_reviewed[0], theirs_reviewed[1]), alpha
            )
        case "caught_money":
            money = counts.money.get(guard.currency or "", Money())
            ours, theirs = (_sums(money, arm) for arm in ("challenger", "champion"))
            return min(len(ours.weights), len(theirs.weights)), ratio_of_sums(ours, theirs, alpha)
        case _:
            return 0, _UNKNOWN


def _sums(money: Money, arm: Arm) -> Sums:
    found = money.frauds[arm]
    return Sums(
        np.array([amount for amount, _ in found], float) / MAX_MONEY_MINOR,
        np.array([stopped for _, stopped in found], bool),
    )


def _latency(guard: Guard, counts: Arms, alpha: float) -> Check:
    """Whether the challenger's p99 is above the limit in most blocks: a stall of the machine is in one block, and in both arms."""
    limit = guard.max if guard.max is not None else math.inf
    ratio = guard.compared == "ratio"
    values = [ours / max(theirs, 1e-3) if ratio else ours for theirs, ours in counts.latencies]
    above = rate(sum(value > limit for value in values), len(values), alpha)
    result: Result = "inconclusive" if len(values) >= FEW else "too_few"
    if above.low > _USUAL:
        result = "fail"
    elif above.high < _USUAL:
        result = "pass"
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if ordered else math.nan
    # for people: median and quartiles of the blocks; the result follows from the share of blocks above the limit
    low = ordered[len(ordered) // 4] if ordered else math.nan
    high = ordered[(3 * len(ordered)) // 4] if ordered else math.nan
    return _told(guard, result, len(values), Interval(middle, low, high))


def _told(guard: Guard, result: Result, n: int, found: Interval) -> Check:
    kind = " (ratio to the champion)" if guard.compared == "ratio" else ""
    if guard.currency is not None:
        kind = f" ({guard.currency}, ratio to the champion)"
    bounds = [f"at least {guard.min:g}"] if guard.min is not None else []
    bounds += [f"at most {guard.max:g}"] if guard.max is not None else []
    return Check(
        name=guard.metric, result=result, n=n, estimate=_finite(found.estimate), low=_finite(found.low),
        high=_finite(found.high), limit=" and ".join(bounds) + kind,
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
