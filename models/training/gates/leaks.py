"""Leak checks: a column that knows the label, and frauds that are there twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, NAMES
from models.training.dataset import Dataset
from models.training.evaluation import auc_roc
from models.training.gates.check import GateCheck
from models.training.gates.limits import Limits

#: honest rows that a column is ranked on; all frauds are kept
_SAMPLE = 20_000


def leak_checks(rows: Dataset, limits: Limits) -> list[GateCheck]:
    """The checks ``leak_feature`` and ``leak_repeated`` of the rows that a model is judged on."""
    return [_feature(rows, limits), _repeated(rows, limits)]


def column_auc(column: npt.NDArray[np.float32], fraud: npt.NDArray[np.bool_]) -> float:
    """How well one column alone tells frauds apart, whichever way it points and whatever an unknown value means: 0.5 to 1."""
    known = np.isfinite(column)
    if not known.any():
        return 0.5
    best = 0.5
    for filler in (column[known].min() - 1.0, column[known].max() + 1.0):
        auc = auc_roc(fraud, np.where(known, column, filler))
        if auc is not None:
            best = max(best, auc, 1 - auc)
    return best


def _feature(rows: Dataset, limits: Limits) -> GateCheck:
    sample = rows.take(_chosen(rows))
    if sample.frauds < limits.min_frauds or sample.frauds == len(sample):
        return GateCheck(
            name="leak_feature", result="too_few", n=sample.frauds, limit=limits.leak,
            why=f"{sample.frauds} frauds are too few to find a column that knows the label",
        )  # fmt: skip
    found = {name: column_auc(sample.matrix[:, INDEX[name]], sample.fraud) for name in NAMES}
    worst = max(found, key=lambda name: found[name])
    bad = sorted((name for name, auc in found.items() if auc > limits.leak), key=lambda name: -found[name])
    said = (
        f"{', '.join(bad[:5])} alone {'tells' if len(bad) == 1 else 'tell'} frauds apart: does the source know the label?"
        if bad
        else f"no column knows the label; the best one alone is {worst}"
    )
    return GateCheck(
        name="leak_feature",
        result="fail" if bad else "pass",
        n=len(sample),
        estimate=found[worst],
        limit=limits.leak,
        why=said,
    )


def _repeated(rows: Dataset, limits: Limits) -> GateCheck:
    """Frauds of one card with the same time and amount: one fraud that is there twice is learnt twice."""
    frauds = rows.take(rows.fraud)
    places: list[npt.NDArray[Any]] = [
        np.unique(frauds.card.astype(str), return_inverse=True)[1], frauds.event_ms, frauds.amount_minor()
    ]  # fmt: skip
    different = len(np.unique(np.column_stack(places), axis=0)) if len(frauds) else 0
    share = 1 - different / len(frauds) if len(frauds) else 0.0
    bad = share > limits.repeated and len(frauds) - different > 1
    return GateCheck(
        name="leak_repeated",
        result="fail" if bad else "pass",
        n=len(frauds),
        estimate=share,
        limit=limits.repeated,
        why=f"{share:.1%} of the frauds are there twice (same card, time and amount)",
    )


def _chosen(rows: Dataset) -> npt.NDArray[np.intp]:
    frauds, honest = np.flatnonzero(rows.fraud), np.flatnonzero(~rows.fraud)
    if len(honest) > _SAMPLE:
        honest = np.random.default_rng(5).choice(honest, _SAMPLE, replace=False)
    return np.sort(np.concatenate([frauds, honest]))
