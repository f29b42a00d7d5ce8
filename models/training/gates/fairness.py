"""Fairness gates: false alarms and recall of one group of customers relative to all others, by the four-fifths rule.

A group fails only where its interval proves the rule broken *and* the model proven worse than the live one: a ratio that the live
model has too is for a person to judge. Small groups are hidden: their figures say little, and could point at single customers.
Source of the rule: US Uniform Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D; intervals widened for the number of groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX
from features.catalogue import INDEX
from models.training.dataset import Dataset
from models.training.gates.check import GateCheck, GateResult
from models.training.gates.limits import Limits
from models.training.gates.resampling import ALPHA, Draws, Flags, Floats
from models.training.gates.side import Side

Rate = Literal["false_alarms", "recall"]
_UNKNOWN = "unknown"
_BANDS = np.array(["low", "middle", "high"], dtype=object)


class GroupRate(msgspec.Struct, frozen=True, kw_only=True):
    """A group's rate relative to that of all others: ``ratio`` with its interval; ``live_ratio``: the live model's."""

    dimension: str
    group: str
    rate: Rate
    result: GateResult
    n: int
    share: float
    others_share: float
    ratio: float
    low: float
    high: float
    live_ratio: float


def fairness_checks(
    rows: Dataset, candidate: Side, live: Side, draws: Draws, limits: Limits, protected: Sequence[str] = ()
) -> tuple[list[GateCheck], list[GroupRate], int]:
    """One check for each dimension and rate, the groups behind them, and how many groups were too small to be shown.

    Args:
        protected: names of attributes of the rows that are dimensions too.
    """
    wanted = list(_groups(rows, protected))
    shown: list[tuple[str, str, Rate, Flags, Flags]] = []
    hidden = 0
    for dimension, names in wanted:
        for group in sorted(set(names.tolist())):
            inside = names == group
            for rate, of, least in (
                ("false_alarms", ~rows.fraud, limits.min_group_honest), ("recall", rows.fraud, limits.min_group_frauds),
            ):  # fmt: skip
                if _enough(rows, inside & of, least, limits) and _enough(rows, ~inside & of, least, limits):
                    shown.append((dimension, group, rate, inside, of))  # type: ignore[arg-type]
                else:
                    hidden += 1
    # as many intervals as are looked at: each must be wider, or one of them would miss by chance
    z = NormalDist().inv_cdf(1 - ALPHA / 2 / max(1, len(shown)))
    rates = [_rate(*found, candidate, live, draws, limits, z) for found in shown]
    checks = []
    for dimension, _ in wanted:
        for name in ("false_alarms", "recall"):
            some = [rate for rate in rates if (rate.dimension, rate.rate) == (dimension, name)]
            checks.append(_worst(f"fairness.{name}.{dimension}", some, limits))
    return checks, rates, hidden


def _groups(rows: Dataset, protected: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Each dimension with the group of every row (n,); dimensions that the source does not have are left out."""
    for name in ("country", "channel", *(PREFIX + name for name in protected)):
        if rows.fields is not None and name in rows.fields.column_names:
            values = rows.fields[name].to_pylist()
            yield name, np.array([value or _UNKNOWN for value in values], dtype=object)
    age = rows.matrix[:, INDEX["card_age_days"]]
    yield (
        "card_age",
        np.select(
            [np.isnan(age), age < 30, age < 365],
            [_UNKNOWN, "under 30 days", "under a year"],
            "a year or more",
        ).astype(object),
    )
    yield "amount", _amount_bands(rows)


def _amount_bands(rows: Dataset) -> npt.NDArray[Any]:
    """Thirds of the amounts, in each currency by itself."""
    band = np.full(len(rows), _UNKNOWN, dtype=object)
    amount, currency = rows.amount_minor(), rows.currency()
    for name in set(currency.tolist()):
        inside = (currency == name) & np.isfinite(amount)
        if inside.any():
            edges = np.quantile(amount[inside], (1 / 3, 2 / 3))
            band[inside] = _BANDS[np.searchsorted(edges, amount[inside])]
    return band


def _enough(rows: Dataset, chosen: Flags, least: int, limits: Limits) -> bool:
    return (
        int(chosen.sum()) >= least
        and len(set(rows.card[chosen].astype(str).tolist())) >= limits.min_group_cards
    )


def _rate(
    dimension: str, group: str, rate: Rate, inside: Flags, of: Flags, candidate: Side, live: Side, draws: Draws,
    limits: Limits, z: float,
) -> GroupRate:  # fmt: skip
    whole = inside & of, ~inside & of
    sizes = [draws.sums(part) for part in whole]
    ours, theirs = (
        _logs(*(draws.sums(part & side.stopped) for part in whole), *sizes) for side in (candidate, live)
    )
    ratio, live_ratio = (
        float(_logs(*(np.array([(part & side.stopped).sum()]) for part in whole), *(np.array([p.sum()]) for p in whole))[0])
        for side in (candidate, live)
    )  # fmt: skip
    spread, spread_to_live = z * float(np.std(ours)), z * float(np.std(ours - theirs))
    low, high = ratio - spread, ratio + spread
    limit = -math.log(limits.four_fifths)
    # towards harm: more false alarms, less recall
    sign = 1 if rate == "false_alarms" else -1
    broken = (low if sign > 0 else -high) > limit
    worse = sign * (ratio - live_ratio) - spread_to_live > 0
    result: GateResult = "fail" if broken and worse else "inconclusive" if broken else "pass"
    shares = [float((part & candidate.stopped).sum() / part.sum()) for part in whole]
    return GroupRate(
        dimension=dimension, group=group, rate=rate, result=result, n=int(whole[0].sum()), share=shares[0], others_share=shares[1],
        ratio=math.exp(ratio), low=math.exp(low), high=math.exp(high), live_ratio=math.exp(live_ratio),
    )  # fmt: skip


def _logs(hits: Floats, other_hits: Floats, size: Floats, other_size: Floats) -> Floats:
    """Logarithm of the ratio of two shares; half a hit on each side, so that none is 0."""
    return np.asarray(
        np.log((hits + 0.5) / (size + 1.0)) - np.log((other_hits + 0.5) / (other_size + 1.0)),
        dtype=np.float64,
    )


def _worst(name: str, rates: list[GroupRate], limits: Limits) -> GateCheck:
    alarms = name.startswith("fairness.false_alarms")
    limit = 1 / limits.four_fifths if alarms else limits.four_fifths
    if not rates:
        return GateCheck(name=name, result="too_few", n=0, limit=limit, why="no two groups are large enough")
    order = {"fail": 0, "inconclusive": 1, "pass": 2, "too_few": 3}
    worst = min(rates, key=lambda rate: (order[rate.result], -rate.ratio if alarms else rate.ratio))
    what = "honest payments stopped" if alarms else "frauds stopped"
    also = ": the live model has it too" if worst.result == "inconclusive" else ""
    return GateCheck(
        name=name, result=worst.result, n=sum(rate.n for rate in rates), estimate=worst.ratio, low=worst.low, high=worst.high,
        limit=limit,
        why=f"{what} of {worst.group}: {worst.share:.2%}, of all others {worst.others_share:.2%}; the live model's ratio is "
        f"{worst.live_ratio:.2f}{also}",
    )  # fmt: skip
