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
_HALVINGS = 40
#: a look at a sum costs as much as its events; 16 halvings give five digits
_HALVINGS_OF_SUMS = 16
#: stakes of ``share_of_sum``, of what may be staked without losing all: small ones for many events, large ones for few
_STAKES = (0.02, 0.05, 0.12, 0.3, 0.7)


class Interval(NamedTuple):
    """Estimate and the bounds that hold at any moment."""

    estimate: float
    low: float
    high: float


def log_evidence(successes: int, n: int, p: float) -> float:
    """The logarithm of the mixture martingale against the rate ``p``: above log(1 / alpha), p is excluded at alpha."""
    return _mixed(successes, n) - _likelihood(successes, n, p)


def rate(successes: int, n: int, alpha: float) -> Interval:
    """The rate of independent events, ``successes`` of ``n``."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    # the likelihood below which a rate is excluded
    bound = _mixed(successes, n) - math.log(1.0 / alpha)
    found = successes / n

    def excluded(p: float) -> bool:
        return _likelihood(successes, n, p) <= bound

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
    return _ratio(rate(*challenger, alpha / 2), rate(*champion, alpha / 2))


def _ratio(ours: Interval, theirs: Interval) -> Interval:
    if math.isnan(ours.estimate) or math.isnan(theirs.estimate):
        return Interval(math.nan, 0.0, math.inf)
    return Interval(
        _divided(ours.estimate, theirs.estimate), _divided(ours.low, theirs.high), _divided(ours.high, theirs.low)
    )  # fmt: skip


class Sums(NamedTuple):
    """Amounts of independent events, each between 0 and 1 of the largest that counts, and whether each was stopped; (n,) both."""

    weights: npt.NDArray[np.float64]
    stopped: npt.NDArray[np.bool_]


def log_evidence_of_sum(sums: Sums, m: float) -> float:
    """The logarithm of a martingale against the share ``m``, as ``log_evidence``.

    Amounts are heavy-tailed, so a share of them has no likelihood. A share is tested by betting instead (Waudby-Smith and Ramdas, 2024):
    under it each weight x (stopped - m) has mean 0, so a stake on it that can never lose more than it has is a martingale.
    """
    if not 0 < m < 1:
        return math.inf
    gains = sums.weights * (sums.stopped - m)
    stakes = np.array([*(part / m for part in _STAKES), *(-part / (1.0 - m) for part in _STAKES)])
    wealth = np.log1p(np.outer(stakes, gains)).sum(axis=1)
    return float(np.logaddexp.reduce(wealth)) - math.log(len(stakes))


def share_of_sum(sums: Sums, alpha: float) -> Interval:
    """The share of a sum that was stopped: sum of the stopped weights by sum of all."""
    total = float(sums.weights.sum())
    if total <= 0:
        return Interval(math.nan, 0.0, 1.0)
    found = float(sums.weights[sums.stopped].sum()) / total
    bound = math.log(1.0 / alpha)

    def excluded(m: float) -> bool:
        return log_evidence_of_sum(sums, m) >= bound

    low = 0.0 if found <= 0 else _boundary(excluded, 0.0, found, _HALVINGS_OF_SUMS)
    high = 1.0 if found >= 1 else _boundary(excluded, 1.0, found, _HALVINGS_OF_SUMS)
    return Interval(found, low, high)


def ratio_of_sums(challenger: Sums, champion: Sums, alpha: float) -> Interval:
    """The ratio of two shares of sums; both intervals hold together."""
    return _ratio(share_of_sum(challenger, alpha / 2), share_of_sum(champion, alpha / 2))


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


def _spread(p: npt.NDArray[np.float64], gradient: npt.NDArray[np.float64]) -> float:
    return float((p * gradient**2).sum() - (p @ gradient) ** 2)


def _width(n: float, alpha: float) -> float:
    """Half the width of an asymptotic confidence sequence for a mean of unit variance after n observations; tightest near n = 1,000."""
    rho2 = (2.0 * math.log(1.0 / alpha) + math.log1p(2.0 * math.log(1.0 / alpha))) / 1_000.0
    return math.sqrt(2.0 * (n * rho2 + 1.0) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1.0) / alpha))


def _boundary(
    excluded: Callable[[float], bool], outside: float, inside: float, halvings: int = _HALVINGS
) -> float:
    """Where exclusion ends between an excluded value and the estimate; on the excluded side, so the interval is never too small."""
    for _ in range(halvings):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _mixed(successes: int, n: int) -> float:
    """Logarithm of the likelihood of an order of events, averaged over the prior of their rate."""
    return (
        math.lgamma(_PRIOR + successes) + math.lgamma(_PRIOR + n - successes) - math.lgamma(2 * _PRIOR + n)
        - 2 * math.lgamma(_PRIOR) + math.lgamma(2 * _PRIOR)
    )  # fmt: skip


def _likelihood(successes: int, n: int, p: float) -> float:
    return _times_log(successes, p) + _times_log(n - successes, 1.0 - p)


def _times_log(count: int, p: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf


def _odds(q: float) -> float:
    return q / (1.0 - q) if q < 1.0 else math.inf


def _divided(a: float, b: float) -> float:
    return a / b if b > 0 else (math.nan if a == 0 else math.inf)
