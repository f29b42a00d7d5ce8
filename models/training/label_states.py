"""What is known of a row's label at a cut-off. One function says it, for training and for rules tested on the past.

- A **stated** label counts from its ``label_time`` on.
- A payment that was **declined** and got no label is censored: it cannot be charged back, so nobody knows. A model is fitted to what the
  score of the time took it for (``inferred_rows``), and nothing is measured on it. Where exploration drew for it
  (``models.policy.exploration``) it is censored even with a label: those that were let through stand for it, and it would count twice.
- Any other payment without a label is unknown. Where only frauds are reported, as on `labels` and in the archive, silence after
  ``MATURITY_MS`` means honest; a file's rows without a label stay unknown unless its owner says otherwise.
- Younger payments have not matured, with or without a label: frauds are reported sooner than honest payments, so counting the
  labelled ones alone would give too many frauds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import LABEL_DELAY_S
from models.policy.exploration import MIN_SHARE

#: age at which a transaction without a reported fraud counts as honest: the catalogue's label delay
MATURITY_MS = LABEL_DELAY_S * 1000
#: what a payment without a label means once it has matured
Silence = Literal["honest", "unknown"]
#: a declined payment is inferred if its score said so much at least: one that a rule or a list declined with a low score is left out
MIN_CHANCE = 0.5
#: label time of rows without one: later than any cut-off
NEVER_MS = 2**62

Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]


class LabelState(IntEnum):
    """Only ``HONEST`` and ``FRAUD`` rows are learnt from and counted in precision and recall."""

    HONEST = 0
    FRAUD = 1
    NOT_MATURED = 2
    UNKNOWN = 3
    CENSORED = 4


@dataclass(frozen=True)
class Stated:
    """The labels of n rows as they were stated: ``fraud`` and ``honest`` flags, and the time (ms since 1970) of each."""

    fraud: Flags
    honest: Flags
    label_ms: Times

    @classmethod
    def of(cls, label: Any, label_ms: Times) -> Stated:
        """From texts (``fraud``, ``legit``, or anything else for no label) and times."""
        texts = np.asarray(label, dtype=object)
        return cls(texts == "fraud", texts == "legit", label_ms)

    def arrived(self) -> Stated:
        """The same, known at any cut-off: an archive holds only labels that have arrived, whatever time they state."""
        return Stated(self.fraud, self.honest, np.zeros_like(self.label_ms))


@dataclass(frozen=True)
class Labels:
    """Event time, ``LabelState`` (int8) and whether a label was stated, of every row of a source, also of those left out."""

    event_ms: Times
    state: npt.NDArray[np.int8]
    stated: Flags

    def between(self, start_ms: int, end_ms: int) -> Labels:
        """Those with event time in [start, end)."""
        return self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))

    def take(self, rows: npt.NDArray[Any]) -> Labels:
        return Labels(self.event_ms[rows], self.state[rows], self.stated[rows])

    def counts(self) -> dict[str, int]:
        """Rows per state; states that no row has are there with 0."""
        found = np.bincount(self.state, minlength=len(LabelState))
        return {state.name.lower(): int(found[state]) for state in LabelState}

    def coverage(self) -> float | None:
        """The share of matured rows whose label was stated; None without any."""
        matured = self.state != LabelState.NOT_MATURED
        return float(self.stated[matured].mean()) if matured.any() else None


NO_LABELS = Labels(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, bool))


def joined(parts: list[Labels]) -> Labels:
    return Labels(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("event_ms", "state", "stated"))
    )


def label_states(
    stated: Stated, event_ms: Times, as_of_ms: int | None, *, silence: Silence, declined: Flags | None = None,
    represented: Flags | None = None, wait: bool = True,
) -> Labels:  # fmt: skip
    """The label of each row as of a cut-off.

    Args:
        as_of_ms: the cut-off; None: every label counts and every row has matured.
        declined: rows that were declined, of which silence says nothing; None: no row.
        represented: declined rows for which others stand, whose labels do not count; None: no row.
        wait: whether a stated label, too, waits until its row has matured.
    """
    everything = np.ones(len(event_ms), bool)
    known = everything if as_of_ms is None else stated.label_ms <= as_of_ms
    young = ~everything if as_of_ms is None else event_ms > as_of_ms - MATURITY_MS
    fraud, honest = stated.fraud & known, stated.honest & known
    state = np.full(len(event_ms), LabelState.HONEST if silence == "honest" else LabelState.UNKNOWN, np.int8)
    state[young] = LabelState.NOT_MATURED
    if declined is not None:
        state[declined] = LabelState.CENSORED
    state[honest], state[fraud] = LabelState.HONEST, LabelState.FRAUD
    if represented is not None:
        state[represented] = LabelState.CENSORED
    if wait:
        state[young & (fraud | honest)] = LabelState.NOT_MATURED
    return Labels(event_ms, state, fraud | honest)


def weights_of(propensity: npt.NDArray[np.floating], declined: Flags) -> npt.NDArray[np.float32]:
    """How many payments each row stands for (n,): 1 / propensity where exploration let it through, else 1.

    Args:
        propensity: the chance of being let through, NaN for rows that exploration did not draw for.
    """
    let_through = ~declined & (propensity > 0)
    weight = np.ones(len(propensity), np.float32)
    weight[let_through] = 1 / np.clip(propensity[let_through], MIN_SHARE, 1.0)
    return weight


class Inferred(NamedTuple):
    """Rows (2 n,): ``row``, the number of the payment, ``fraud``, and ``weight``, float32."""

    row: npt.NDArray[np.intp]
    fraud: Flags
    weight: npt.NDArray[np.float32]


def inferred_rows(chance: npt.NDArray[np.floating]) -> Inferred:
    """Each of n declined payments twice: as fraud with its chance as weight, and as honest with the rest.

    Otherwise a model forgets the frauds that it stops, as no other payments are like them. Source: reject inference by fuzzy augmentation,
    Siddiqi 2006, "Credit Risk Scorecards", chapter 6.

    Args:
        chance: of fraud, as the model said that declined them, (n,).
    """
    n = len(chance)
    row = np.concatenate([np.arange(n), np.arange(n)])
    weight = np.concatenate([chance, 1 - chance]).astype(np.float32)
    used = weight > 0
    return Inferred(row[used], np.repeat([True, False], n)[used], weight[used])
