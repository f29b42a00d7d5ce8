"""Learns how a model takes attributes of one's own: numbers as they are, each text as its log-odds of fraud.

A training row gets the log-odds that were known at its time: of rows whose label had come by then. Otherwise each row would know its
own label, and the model would trust rare texts too much. What is shipped is learnt from all rows of training. Rates are drawn towards
the overall one as if ``PRIOR_ROWS`` more rows had it. Source: Prokhorenkova et al., CatBoost (2018), ordered target statistics; here the
order is that of the labels' arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX, Attributes
from models.bundle.attribute_columns import AttributeColumn, AttributeColumns, Columns

PRIOR_ROWS = 20.0
#: texts of an attribute that get a value of their own, the most frequent ones
MAX_TEXTS = 1_000

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


def learn_columns(given: Columns, fraud: Flags, attributes: Attributes) -> AttributeColumns:
    """The model's columns, learnt from n rows. An attribute that no row has is none, and none by which fairness is judged.

    Args:
        given: the rows' values, by ``attributes.NAME``.
        fraud: bool (n,).
        attributes: those that the stack declares.
    """
    out = []
    for name, declared in attributes.declared.items():
        values = given.column(PREFIX + name) if declared.use == "model" else None
        if values is None or all(value is None for value in values):
            continue
        encoding: dict[str, float] = {}
        other = 0.0
        if declared.type == "text":
            encoding, other = _encoding(values, fraud)
        out.append(AttributeColumn(name, declared.type, declared.unit, declared.meaning, encoding, other))
    return AttributeColumns(tuple(out))


def block_to_fit(
    columns: AttributeColumns, given: Columns, fraud: Flags, event_ms: Times, known_ms: Times
) -> Floats:
    """The columns (n, k) of the rows that a model is fitted on: texts as they were known at each row's time.

    Args:
        event_ms: of the rows, since 1970, ascending.
        known_ms: when each row's label came.
    """
    out = columns.block(len(fraud), given)
    for place, (name, column) in enumerate(zip(columns.names, columns.columns, strict=True)):
        values = given.column(name)
        if column.type == "text" and values is not None:
            out[:, place] = _as_known(values, fraud, event_ms, known_ms)
    return out


def _encoding(values: Sequence[Any], fraud: Flags) -> tuple[dict[str, float], float]:
    """Of each frequent text its log-odds, no two alike in single precision; and the log-odds of all others."""
    rate = _rate(fraud)
    rows = Counter(value for value in values if type(value) is str)
    frauds = Counter(value for value, bad in zip(values, fraud.tolist(), strict=True) if bad)
    other = np.float32(_log_odds(np.zeros(1), np.zeros(1), rate)[0])
    taken = {other}
    out = {}
    for text, count in rows.most_common(MAX_TEXTS):
        value = np.float32(_log_odds(np.array([frauds[text]]), np.array([count]), rate)[0])
        while value in taken:
            value = np.nextafter(value, np.float32(np.inf))
        taken.add(value)
        out[text] = float(value)
    return out, float(other)


def _as_known(values: Sequence[Any], fraud: Flags, event_ms: Times, known_ms: Times) -> Floats:
    """The log-odds (n,) of each row's text by the labels that had come before the row; NaN without a text."""
    names: dict[Any, int] = {}
    codes = np.array([names.setdefault(value, len(names)) for value in values], dtype=np.int64)
    rate = _rate(fraud)
    out = np.full(len(codes), np.nan, dtype=np.float32)
    # the rows of each text lie together
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if not len(rows) or values[rows[0]] is None:
            continue
        arrival = rows[np.argsort(known_ms[rows], kind="stable")]
        frauds = np.concatenate([[0], np.cumsum(fraud[arrival])])
        known = np.searchsorted(known_ms[arrival], event_ms[rows], side="right")
        out[rows] = _log_odds(frauds[known], known, rate)
    return out


def _rate(fraud: Flags) -> float:
    # a half of a row of each kind: with a kind missing there are no log-odds
    return (float(fraud.sum()) + 0.5) / (len(fraud) + 1)


def _log_odds(frauds: npt.NDArray[Any], rows: npt.NDArray[Any], rate: float) -> npt.NDArray[np.float64]:
    odds: npt.NDArray[np.float64] = (frauds + PRIOR_ROWS * rate) / (rows - frauds + PRIOR_ROWS * (1 - rate))
    return np.log(odds)
