"""One of the two models on the rows that both are judged on: its scores and its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.policy.policy import Policy
from models.policy.rules.columns import FieldUnknown, TableColumns
from models.training.dataset import Dataset, FloatArray


def features_of(rows: Dataset) -> FloatArray:
    """The rows as a model without attributes takes them."""
    return rows.matrix


@dataclass(frozen=True)
class Contender:
    """A model that can be judged.

    ``seen_until_ms``: event time of the newest row that it, its calibration or its thresholds were made from; None: not known.
    ``taken``: a data set's rows as ``score`` takes them. ``auc_roc``: what it had when it was trained, on its own unseen rows. ``bytes``: size of the model in its formats.
    """

    version: str
    score: Callable[[FloatArray], FloatArray]
    policy: Policy
    seen_until_ms: int | None = None
    auc_roc: float | None = None
    bytes: int = 0
    taken: Callable[[Dataset], FloatArray] = features_of

    def scored(self, rows: Dataset) -> FloatArray:
        """The scores of a data set's rows, float32 (n,)."""
        return self.score(self.taken(rows))


@dataclass(frozen=True)
class Side:
    """Scores float32 (n,) and decision codes int8 (n,) of one model; the rules and lists that failed, by name, and those that took no
    part because the rows lack a field or an attribute that they name.
    """

    scores: FloatArray
    codes: npt.NDArray[np.int8]
    errors: dict[str, str]
    absent: frozenset[str] = frozenset()

    @property
    def stopped(self) -> npt.NDArray[np.bool_]:
        """Reviewed or declined."""
        return self.codes > 0


def decided(
    contender: Contender, rows: Dataset, policy: Policy, columns: TableColumns | None, now_ms: float
) -> Side:
    """Score and decide rows.

    Args:
        policy: to decide with.
        columns: the rows' fields; None: whatever names a field has no effect.
        now_ms: the time that expiries are compared with.
    """
    errors: dict[str, str] = {}
    absent: set[str] = set()

    def failed(name: str, error: Exception) -> None:
        if isinstance(error, FieldUnknown):
            absent.add(name)
            return
        errors[name] = f"{type(error).__name__}: {error}"

    scores = contender.scored(rows)
    codes, _ = policy.decide(scores, rows.matrix, columns, now_ms, failed)
    return Side(scores, codes, errors, frozenset(absent))
