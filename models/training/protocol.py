"""Train on some days, wait for the labels, test on later days: one model fitted and measured under an issuer's conditions.

Source: Fraud Detection Handbook, chapter 3 (train week, delay, test week; cards known to be compromised are left out of the
test, see ``evaluation.without_known_frauds``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import NO_ATTRIBUTES, Attributes
from models.training.dataset import DAY_MS, Dataset, DatasetError, FloatArray, from_history, in_order
from models.training.evaluation import (
    CAPACITY,
    auc_roc,
    average_precision,
    card_precision,
    without_known_frauds,
)
from models.training.learners.parameters import Parameters
from models.training.training import fit, fit_with, margins, with_columns


@dataclass(frozen=True)
class Days:
    """Event days in UTC, both inclusive."""

    first: date
    last: date

    @property
    def start_ms(self) -> int:
        return _midnight_ms(self.first)

    @property
    def end_ms(self) -> int:
        """Midnight after the last day."""
        return _midnight_ms(self.last + timedelta(days=1))


def parse_days(text: str) -> Days:
    """Parse FROM:TO, such as ``2018-07-25:2018-07-31``.

    Raises:
        ValueError: not two dates in order.
    """
    first, colon, last = text.partition(":")
    try:
        days = Days(date.fromisoformat(first), date.fromisoformat(last))
    except ValueError:
        raise ValueError(f"{text!r} is not FROM:TO with dates such as 2018-07-25:2018-07-31") from None
    if not colon or days.last < days.first:
        raise ValueError(f"{text!r}: TO comes before FROM")
    return days


def with_delay(history: pa.Table, delay_days: int) -> pa.Table:
    """The same history with all labels known ``delay_days`` after their transactions, also to label features."""
    times = pc.add(history["event_time"], pa.scalar(timedelta(days=delay_days), pa.duration("ms")))
    known = pc.if_else(pc.is_valid(history["label"]), times, pa.scalar(None, times.type))
    return history.set_column(history.column_names.index("label_time"), "label_time", known)


def measure(
    history: pa.Table, compute: Callable[[pa.Table], FloatArray], train: Days, test: Days, delay_days: int,
    parameters: Parameters, attributes: Attributes = NO_ATTRIBUTES,
) -> dict[str, Any]:  # fmt: skip
    """Fit on the training days with the engine's features, and measure on the test days.

    Rows without a label are unknown: they are in the features of others, and are neither trained nor tested on. With a delay of
    0 days a label is known right after its transaction, never to it.

    Args:
        history: rows in order of arrival, beginning well before training (windows reach back 30 days).
        compute: ``features.replay.replay``.
        attributes: those of one's own, columns ``attributes.NAME`` of the history. With some, the figures without them are given too.

    Raises:
        DatasetError: a period has no rows, there are too few frauds, or the test days overlap the training days.
    """
    if test.start_ms < train.end_ms:
        raise DatasetError("the test begins before training ends")
    before = pc.less(pc.cast(history["event_time"], pa.int64()), test.end_ms)
    start = time.perf_counter()
    data = from_history(in_order(with_delay(history.filter(before), delay_days)), compute)
    features_s = time.perf_counter() - start
    # only labels known when the test begins are trained on
    known_until = min(train.end_ms, test.start_ms - delay_days * 86_400_000)
    fitting = data.between(train.start_ms, known_until)
    testing = data.between(test.start_ms, test.end_ms)
    tested = without_known_frauds(testing, data, delay_days, train.start_ms, train.end_ms)
    if not len(fitting) or not len(tested):
        raise DatasetError(
            f"{len(fitting)} rows to train on and {len(tested)} to test on: check the dates against the file"
        )
    start = time.perf_counter()
    booster, columns = fit_with(fitting, parameters, attributes, delay_days * DAY_MS)
    fit_s = time.perf_counter() - start
    scores = margins(booster, with_columns(tested, columns).matrix)
    without = (
        {"without_attributes": _ranking(tested, margins(fit(fitting, parameters), tested.matrix))}
        if columns
        else {}
    )
    return {
        **_ranking(tested, scores),
        **without,
        "fit_s": round(fit_s, 3),
        "features_s": round(features_s, 3),
        "rows": {
            "history": len(data.labels.state),
            **_count("train", fitting),
            **_count("test", tested),
            "train_unlabelled": fitting.labels.counts()["unknown"],
            "test_unlabelled": testing.labels.counts()["unknown"],
        },
    }


def _ranking(data: Dataset, scores: FloatArray) -> dict[str, float | None]:
    return {
        "auc_roc": auc_roc(data.fraud, scores),
        "average_precision": average_precision(data.fraud, scores),
        f"card_precision_at_{CAPACITY}": card_precision(data, scores),
    }


def _count(part: str, data: Dataset) -> dict[str, int]:
    return {
        part: len(data), f"{part}_frauds": data.frauds, f"{part}_cards": len(np.unique(data.card)),
    }  # fmt: skip


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
