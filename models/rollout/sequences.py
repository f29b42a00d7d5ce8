"""Confidence sequences: intervals that hold at every moment at once, so that one may look as often as one likes and stop when one likes.

Each inverts a mixture martingale: under a value p, the mixed likelihood ratio has expectation 1 at every moment, so by Ville's
inequality it ever exceeds 1 / alpha with probability alpha at most; the values that it has not excluded are the interval. For a rate the
mixture is over a Beta(1/2, 1/2) prior (Robbins, 1970). Two arms are compared as Lindon and Malek do (Anytime-valid inference for
multinomial count data, 2022): cards are dealt to the arms at random, so an event belongs to the challenger with a probability that
depends on the ratio of the rates alone, however the rates themselves change over the day. All functions are pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_PRIOR = 0.5
_HALVINGS = 60
#: bets of the weighted comparison, as shares of the largest that cannot lose everything
_BETS = (0.02, 0.1, 0.3, 0.7)
#: ratios that the weighted comparison tries
_RATIOS = np.exp(np.linspace(math.log(0.02), math.log(50.0), 241))


class Interval(NamedTuple):
    """Estimate and the bounds that hold at any moment."""

    estimate: float
    low: float
    high: float


def log_evidence(successes: int, n: int, p: float) -> float:
    """The logarithm of the mixture martingale against the rate ``p``: above log(1 / alpha), p is excluded at alpha."""
    failures = n - successes
    mixed = (
        math.lgamma(_PRIOR + successes) + math.lgamma(_PRIOR + failures) - math.lgamma(2 * _PRIOR + n)
        - 2 * math.lgamma(_PRIOR) + math.lgamma(2 * _PRIOR)
    )  # fmt: skip
    return mixed - _times_log(successes, p) - _times_log(failures, 1.0 - p)


def rate(successes: int, n: int, alpha: float) -> Interval:
    """The rate of independent events, ``successes`` of ``n``."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    bound = math.log(1.0 / alpha)
    found = successes / n

    def excluded(p: float) -> bool:
        return log_evidence(successes, n, p) >= bound

    low = 0.0 if successes == 0 else _boundary(excluded, 0.0, found)
    high = 1.0 if successes == n else _boundary(excluded, 1.0, found)
    return Interval(found, low, high)


def ratio_of_arms(challenger: int, champion: int, share: float, alpha: float) -> Interval:
    """The ratio of the challenger's event rate to the champion's.

    Args:
        challenger, champion: cards with the event in each arm, counted over the same time.
        share: of the cards that are the challenger's, above 0 and below 1.
    """
    found = rate(challenger, challenger + champion, alpha)
    return Interval(*(_odds(q) * (1.0 - share) / share for q in found))


def ratio_of_pairs(both: int, champion_only: int, challenger_only: int, alpha: float) -> Interval:
    """The ratio of the challenger's event rate to the champion's, where both judged the same payments.

    Args:
        both, champion_only, challenger_only: cards with the event by both models, or by one of them.

    The ratio follows from two rates: how often the two differ, and, where they do, which one has the event (McNemar). Each gets half
    of ``alpha``; the bounds are the extremes over both intervals.
    """
    differing = champion_only + challenger_only
    n = both + differing
    if n == 0:
        return Interval(math.nan, 0.0, math.inf)
    differ, side = rate(differing, n, alpha / 2), rate(challenger_only, differing, alpha / 2)

    def ratio(share_differing: float, to_challenger: float) -> float:
        champions = 1.0 - share_differing + (1.0 - to_challenger) * share_differing
        return (1.0 - share_differing * (1.0 - to_challenger)) / champions if champions > 0 else math.inf

    corners = [ratio(d, s) for d in differ[1:] for s in side[1:]]
    champions = both + champion_only
    found = (both + challenger_only) / champions if champions else math.inf
    return Interval(found, min(corners), max(corners))


def ratio_of_rates(challenger: tuple[int, int], champion: tuple[int, int], alpha: float) -> Interval:
    """The ratio of two rates, each (successes, n); both intervals hold together."""
    ours, theirs = rate(*challenger, alpha / 2), rate(*champion, alpha / 2)
    if math.isnan(ours.estimate) or math.isnan(theirs.estimate):
        return Interval(math.nan, 0.0, math.inf)
    return Interval(
        _divided(ours.estimate, theirs.estimate), _divided(ours.low, theirs.high), _divided(ours.high, theirs.low)
    )  # fmt: skip


def weighted_ratio_of_arms(
    weights: Sequence[float], challenger: Sequence[bool], share: float, alpha: float
) -> Interval:
    """The ratio of the challenger's rate to the champion's, of events with weights (money), by betting on the arm of each event.

    Args:
        weights: of the events in the order in which they came, each between 0 and 1.
        challenger: of the same events, whether the card is the challenger's.

    A bettor stakes a share of the weight on each event's arm at the odds of a ratio; a ratio against which some mixture of bettors
    would have grown rich is excluded (Waudby-Smith and Ramdas, 2024). The ratios tried reach from 1/50 to 50.
    """
    w, mine = np.asarray(weights, float), np.asarray(challenger, float)
    if not len(w):
        return Interval(math.nan, 0.0, math.inf)
    ours, theirs = float(w @ mine), float(w @ (1.0 - mine))
    found = _divided(ours * (1.0 - share), theirs * share)
    odds = _RATIOS * share / (1.0 - share)
    chance = odds / (1.0 + odds)
    wealth = [_wealth(w, mine, chance, part, sign) for part in _BETS for sign in (1.0, -1.0)]
    mixed = np.logaddexp.reduce(np.stack(wealth), axis=0) - math.log(len(wealth))
    kept = np.flatnonzero(mixed < math.log(1.0 / alpha))
    if not len(kept):
        return Interval(found, found, found)
    low = 0.0 if kept[0] == 0 else float(_RATIOS[kept[0] - 1])
    high = math.inf if kept[-1] == len(_RATIOS) - 1 else float(_RATIOS[kept[-1] + 1])
    return Interval(found, low, high)


def stability(champion: Sequence[int], challenger: Sequence[int], alpha: float) -> Interval:
    """The population stability index of two histograms of independent observations, with the bias of finite counts taken off.

    The width is that of an asymptotic confidence sequence (Waudby-Smith and others, 2021) with the delta method's variance; where both
    are alike that variance vanishes, and the chi-squared noise of the counts takes its place.
    """
    c, k = np.asarray(champion, float), np.asarray(challenger, float)
    n, m = float(c.sum()), float(k.sum())
    if not n or not m:
        return Interval(math.nan, 0.0, math.inf)
    p, q = (c + 0.5) / (n + 0.5 * len(c)), (k + 0.5) / (m + 0.5 * len(k))
    log = np.log(p / q)
    index = float(((p - q) * log).sum())
    by_p, by_q = log + 1.0 - q / p, 1.0 - log - p / q
    variance = _spread(p, by_p) / n + _spread(q, by_q) / m
    smaller = min(n, m)
    width = _width(smaller, alpha) * math.sqrt(variance * smaller)
    noise = (len(c) - 1) * (1.0 / n + 1.0 / m)
    # the chi-squared part: its mean is ``noise``, its tail falls as exp(-x / 2) in units of 1/n + 1/m
    tail = 2.0 * math.log(1.0 / alpha) * (1.0 / n + 1.0 / m)
    estimate = max(0.0, index - noise)
    return Interval(estimate, max(0.0, index - noise - width - tail), index + width + tail)


def _wealth(
    w: npt.NDArray[np.float64], mine: npt.NDArray[np.float64], chance: npt.NDArray[np.float64], part: float, sign: float
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Logarithm of a bettor's wealth against each ratio: bets on the challenger's arm (sign 1) or on the champion's (-1)."""
    # the largest stake that leaves something whatever happens
    stake = sign * part * np.where(sign > 0, 1.0 / chance, 1.0 / (1.0 - chance))
    out = np.zeros_like(chance)
    for weight, is_mine in zip(w, mine, strict=True):
        out += np.log1p(stake * weight * (is_mine - chance))
    return out


def _spread(p: npt.NDArray[np.float64], gradient: npt.NDArray[np.float64]) -> float:
    return float((p * gradient**2).sum() - (p @ gradient) ** 2)


def _width(n: float, alpha: float) -> float:
    """Half the width of an asymptotic confidence sequence for a mean of unit variance after n observations; tightest near n = 1,000."""
    rho2 = (2.0 * math.log(1.0 / alpha) + math.log1p(2.0 * math.log(1.0 / alpha))) / 1_000.0
    return math.sqrt(2.0 * (n * rho2 + 1.0) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1.0) / alpha))


def _boundary(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where exclusion ends between an excluded value and the estimate; on the excluded side, so the interval is never too small."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _times_log(count: int, p: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf


def _odds(q: float) -> float:
    return q / (1.0 - q) if q < 1.0 else math.inf


def _divided(a: float, b: float) -> float:
    return a / b if b > 0 else (math.nan if a == 0 else math.inf)
