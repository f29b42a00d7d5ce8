"""Quality gates: ranking, money and false alarms against the live model; calibration; the record of the live model."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from models.training.dataset import Dataset
from models.training.evaluation import auc_roc
from models.training.gates.check import GateCheck, GateResult
from models.training.gates.limits import Limits
from models.training.gates.resampling import Draws, Interval, Ranking, interval
from models.training.gates.side import Side


def average_precision_check(
    rows: Dataset, candidate: Side, live: Side, draws: Draws, limits: Limits
) -> GateCheck:
    """Average precision of the candidate less that of the live model; it fails where a loss is proven."""
    if rows.frauds < limits.min_frauds:
        return GateCheck(
            name="average_precision", result="too_few", n=rows.frauds, required=True,
            why=f"{rows.frauds} frauds that neither model has seen: {limits.min_frauds} are needed to tell them apart",
        )  # fmt: skip
    ours, theirs = Ranking(rows.fraud, candidate.scores), Ranking(rows.fraud, live.scores)
    each = rows.weights
    base = theirs.average_precision(each)
    drawn = np.array(
        [
            ours.average_precision(w) - theirs.average_precision(w)
            for w in (each * draws.rows(draw) for draw in range(len(draws)))
        ]
    )
    found = interval(ours.average_precision(each) - base, drawn)
    limit = -limits.average_precision_loss * base
    return GateCheck(
        name="average_precision", result=_loss(found, limit), n=rows.frauds, estimate=found.estimate, low=found.low,
        high=found.high, limit=limit, required=True,
        why=f"average precision {base + found.estimate:.3f}, the live model has {base:.3f} on the same rows",
    )  # fmt: skip


def money_checks(rows: Dataset, candidate: Side, live: Side, draws: Draws, limits: Limits) -> list[GateCheck]:
    """``money_caught.CUR``: the share of fraud money that is stopped, candidate less live, for each currency by itself.

    A loss that the candidate does not have when it stops as many payments as the live model is a trade for fewer stopped ones: a
    person judges it, unless it is larger than ``money_trade``.
    """
    found = []
    currency, amount = rows.currency(), rows.weights * np.nan_to_num(rows.amount_minor().astype(np.float64))
    level = _first(candidate, int(live.stopped.sum()))
    for name in sorted(set(currency[rows.fraud].tolist())):
        stolen = np.where(rows.fraud & (currency == name), amount, 0.0)
        frauds = int((rows.fraud & (currency == name)).sum())
        if frauds < limits.min_frauds or not stolen.sum():
            why = f"{frauds} frauds in {name} are too few"
            found.append(GateCheck(name=f"money_caught.{name}", result="too_few", n=frauds, why=why))
            continue
        it, fair = (
            _money_loss(stolen, stopped, live.stopped, draws) for stopped in (candidate.stopped, level)
        )
        result = _loss(it, -limits.money_loss)
        traded = (
            result == "fail" and fair.estimate >= -limits.money_loss and it.estimate >= -limits.money_trade
        )
        shares = (float((stolen * side.stopped).sum() / stolen.sum()) for side in (candidate, live))
        why = "stops {:.1%} of the fraud money in {name}, the live model {:.1%}".format(*shares, name=name)
        if traded:
            why += "; it stops fewer payments, and would stop as much with as many"
        found.append(
            GateCheck(
                name=f"money_caught.{name}", result="inconclusive" if traded else result, n=frauds, estimate=it.estimate, low=it.low,
                high=it.high, limit=-limits.money_loss, why=why,
            )
        )  # fmt: skip
    return found


def false_alarm_check(rows: Dataset, candidate: Side, live: Side, draws: Draws, limits: Limits) -> GateCheck:
    """Honest payments that the candidate stops, relative to those that the live model stops.

    More that the candidate does not have when it stops as many payments as the live model are a trade for more stopped frauds, as when
    an attack makes frauds many: a person judges it, up to ``false_alarm_trade``.
    """
    ours, theirs = (rows.weights * (~rows.fraud & side.stopped) for side in (candidate, live))
    counts = round(float(ours.sum())), round(float(theirs.sum()))
    honest = round(float(rows.weights[~rows.fraud].sum()))
    # half a payment on each side: a count of 0 has a ratio too
    drawn = (draws.sums(ours) + 0.5) / (draws.sums(theirs) + 0.5)
    it = interval((counts[0] + 0.5) / (counts[1] + 0.5), drawn)
    result: GateResult = "pass"
    why = f"stops {counts[0]} of {honest} honest payments, the live model {counts[1]}"
    if it.low > 1 and it.estimate > limits.false_alarms:
        level = _first(candidate, int(live.stopped.sum()))
        frauds = [round(float(rows.weights[rows.fraud & side.stopped].sum())) for side in (candidate, live)]
        better = rows.weights[~rows.fraud & level].sum() < counts[1] and frauds[0] > frauds[1]
        result = "inconclusive" if better and it.estimate <= limits.false_alarm_trade else "fail"
        why += f", and {frauds[0]} frauds in place of {frauds[1]}" + (
            "; with as many stopped payments it would have fewer false alarms" if better else ""
        )
    elif it.estimate > limits.false_alarms:
        result = "inconclusive"
    return GateCheck(
        name="false_alarms", result=result, n=honest, estimate=it.estimate, low=it.low, high=it.high,
        limit=limits.false_alarms, why=why,
    )  # fmt: skip


def calibration_check(rows: Dataset, candidate: Side, live: Side, limits: Limits) -> GateCheck:
    """Frauds observed for each fraud that the scores predict. It fails where it is proven wrong and worse than the live model's."""
    ratio, low, high = _observed_per_predicted(rows, candidate.scores)
    theirs = _observed_per_predicted(rows, live.scores)[0]
    off = low > limits.calibration or high < 1 / limits.calibration
    worse = abs(math.log(ratio)) > abs(math.log(theirs))
    result: GateResult = "fail" if off and worse else "inconclusive" if off else "pass"
    return GateCheck(
        name="calibration", result=result, n=rows.frauds, estimate=ratio, low=low, high=high, limit=limits.calibration,
        why=f"{ratio:.2f} frauds for each that its scores predict, the live model {theirs:.2f}",
    )  # fmt: skip


def record_check(
    rows: Dataset, candidate: Side, live: Side, record: float | None, limits: Limits
) -> GateCheck:
    """Against labels that say nothing: the candidate must not rank far worse than the live model did when that was trained.

    Where labels are wrong, both models are equally bad on them, and the comparison of the two does not show it.
    """
    ours, theirs = (auc_roc(rows.fraud, side.scores, rows.weight) for side in (candidate, live))
    if record is None or ours is None or theirs is None or rows.frauds < limits.min_frauds:
        return GateCheck(
            name="ranking_of_record", result="too_few", n=rows.frauds, why="nothing to compare with"
        )
    error = _auc_error(ours, rows.frauds, len(rows) - rows.frauds)
    limit = record - limits.record_loss
    result: GateResult = "fail" if ours + 1.96 * error < limit else "inconclusive" if ours < limit else "pass"
    return GateCheck(
        name="ranking_of_record", result=result, n=rows.frauds, estimate=ours, low=ours - 1.96 * error, high=ours + 1.96 * error,
        limit=limit,
        why=f"AUC {ours:.3f}; the live model had {record:.3f} when it was trained and has {theirs:.3f} on these rows: "
        + ("are the labels right?" if result != "pass" else "the labels still fit the payments"),
    )  # fmt: skip


def _first(side: Side, count: int) -> npt.NDArray[np.bool_]:
    """The ``count`` rows (n,) that a model would stop first: its strictest decisions, then its highest scores."""
    chosen = np.zeros(len(side.scores), bool)
    chosen[np.lexsort((-side.scores, -side.codes))[:count]] = True
    return chosen


def _money_loss(
    stolen: npt.NDArray[np.float64], ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_], draws: Draws
) -> Interval:
    whole = draws.sums(stolen)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (draws.sums(stolen * ours) - draws.sums(stolen * theirs)) / whole
    return interval(float((stolen * ours).sum() - (stolen * theirs).sum()) / float(stolen.sum()), drawn)


def _loss(found: Interval, limit: float) -> GateResult:
    """A proven loss beyond the limit fails; one that the interval leaves possible is for a person to judge."""
    if found.high < 0 and found.estimate < limit:
        return "fail"
    return "inconclusive" if found.estimate < limit else "pass"


def _observed_per_predicted(rows: Dataset, scores: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    """(ratio, low, high) with the normal interval of the logarithm of a Poisson count."""
    each = rows.weights.astype(np.float64)
    observed, predicted = max(float(each[rows.fraud].sum()), 0.5), max(float((each * scores).sum()), 1e-9)
    # the relative error of a weighted count (Kish 1965): as of that many rows of weight 1
    count = observed**2 / max(float((each[rows.fraud] ** 2).sum()), 0.5)
    spread = math.exp(1.96 / math.sqrt(max(count, 0.5)))
    ratio = observed / predicted
    return ratio, ratio / spread, ratio * spread


def _auc_error(auc: float, frauds: int, honest: int) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (frauds - 1) * (q1 - auc**2) + (honest - 1) * (q2 - auc**2)
    return math.sqrt(max(variance, 0.0) / (frauds * honest))
