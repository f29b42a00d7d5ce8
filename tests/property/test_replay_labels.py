"""Labels in a replay: a row sees those that were known when it came, whatever the batches, and no later one moves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import features.replay
from features.catalogue import FEATURES, INDEX, NAMES
from features.replay import BATCH, replay
from tests.support.oracle import DAY, HOUR, MINUTE, of_frauds

START = 1_760_000_000_000 // DAY * DAY
#: what labels move; the delayed counts beside the rates wait for labels, but count payments
MOVED = [feature.name for feature in FEATURES if feature.uses_labels]


class Row(NamedTuple):
    """A payment of a history; the label is ``None`` or whether it was a fraud, said at ``known_ms``."""

    event_ms: int
    fraud: bool | None = None
    known_ms: int = 0
    card: int = 0


def table(rows: Sequence[Row]) -> pa.Table:
    said = {None: None, True: "fraud", False: "legit"}
    known = [None if row.fraud is None else row.known_ms for row in rows]
    one = ["x"] * len(rows)
    return pa.table(
        {
            "transaction_id": [f"t-{n}" for n in range(len(rows))], "card_id": [f"card-{row.card}" for row in rows],
            "merchant_id": one, "device_id": one, "ip": one, "customer_id": one,
            "amount_minor": [100] * len(rows), "currency": ["EUR"] * len(rows),
            "event_time": pa.array([row.event_ms for row in rows], pa.timestamp("ms", "UTC")),
            "label": pa.array([said[row.fraud] for row in rows], pa.string()),
            "label_time": pa.array(known, pa.timestamp("ms", "UTC")),
        }
    )  # fmt: skip


def values(rows: Sequence[Row], name: str, batch: int = BATCH) -> list[float]:
    found: list[float] = replay(table(rows), batch=batch)[:, INDEX[name]].tolist()
    return found


drawn_rows = st.lists(
    st.tuples(
        st.integers(-2 * DAY, 9 * DAY), st.sampled_from([None, True, True, False]),
        st.one_of(st.integers(0, 3 * HOUR), st.integers(0, 20 * DAY)), st.integers(0, 2),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


def rows_of(drawn: Sequence[tuple[int, bool | None, int, int]]) -> list[Row]:
    now, rows = START, []
    for gap, fraud, delay, card in drawn:
        now = max(START, now + gap)
        rows.append(Row(now, fraud, now + delay, card))
    return rows


def clock_of(rows: Sequence[Row]) -> list[int]:
    """The newest event time that had come by each row."""
    return [max(row.event_ms for row in rows[: n + 1]) for n in range(len(rows))]


@settings(max_examples=60, deadline=None)
@given(drawn_rows, st.integers(0, 24), st.data())
def test_no_later_label_moves_any_feature_of_a_row(drawn: Any, at: int, data: Any) -> None:
    rows = rows_of(drawn)
    at = min(at, len(rows) - 1)
    now_ms = clock_of(rows)[at]
    other = []
    for row in rows:
        if row.fraud is None or row.known_ms >= now_ms:
            # removed, said at this time or another later one, or otherwise
            said = data.draw(st.sampled_from([None, True, False]))
            row = row._replace(fraud=said, known_ms=now_ms + data.draw(st.integers(0, 30 * DAY)))
        other.append(row)
    for batch in (1, 3, BATCH):
        before, after = replay(table(rows), batch=batch), replay(table(other), batch=batch)
        assert before[: at + 1].tobytes() == after[: at + 1].tobytes()


@settings(max_examples=60, deadline=None)
@given(drawn_rows, st.sampled_from([1, 2, 7, BATCH]))
def test_a_card_has_the_frauds_that_were_known_when_its_payment_came(drawn: Any, batch: int) -> None:
    rows = rows_of(drawn)
    found = values(rows, "card_frauds_30d", batch)
    clock = clock_of(rows)
    for at, (row, now_ms) in enumerate(zip(rows, clock, strict=True)):
        known = [
            r
            for r, came_ms in zip(rows, clock, strict=True)
            if r.fraud and max(r.known_ms, came_ms) < now_ms and r.card == row.card
        ]
        # what lies behind the ring of a profile's newest fraud by more than it holds is gone
        if known and max(r.event_ms for r in known) // DAY - row.event_ms // DAY + 29 >= 40:
            continue
        assert found[at] == of_frauds([r.event_ms for r in known], [], row.event_ms)["frauds_30d"]


def around_a_label(name: str) -> tuple[list[Row], int]:
    """A fraud that the window of an entry holds, its label known a week later, and the rows that come after it within one batch.

    Returns the rows, and the number of the first that comes after the label is known; the row before it comes at that very moment.
    """
    fraud = Row(START + 10 * HOUR, True, START + 7 * DAY + 13 * HOUR)
    # 7 days and 1 to 9 hours after it its tile is closed for every rate
    later = [fraud.known_ms + ms for ms in (-4 * HOUR, -1, 0, 1, MINUTE)]
    if "rate" in name:
        later = [START + 7 * DAY + 16 * HOUR + ms for ms in (0, MINUTE, 2 * MINUTE, 3 * MINUTE, HOUR)]
        fraud = fraud._replace(known_ms=later[2])
    return [fraud, *map(Row, later)], 4


@pytest.mark.parametrize("name", MOVED)
def test_an_entry_moves_with_a_label_from_its_time_on_and_within_a_batch(name: str) -> None:
    rows, first = around_a_label(name)
    for batch in (1, BATCH):
        if batch == BATCH and "rate" in name:
            # a rate needs its payments counted: they fill a batch of their own
            rows = [rows[0], *(Row(START + 10 * HOUR + n) for n in range(1, BATCH)), *rows[1:]]
            first += BATCH - 1
        found = values(rows, name, batch)
        assert not any(found[1:first]), "a label was seen before its time"
        assert all(value > 0 for value in found[first:]), "a label was not seen after its time"
        assert not any(values([rows[0]._replace(fraud=None), *rows[1:]], name, batch))
        assert not any(values([rows[0]._replace(fraud=False), *rows[1:]], name, batch))


def test_what_a_label_moves_is_all_that_it_moves() -> None:
    """Where a batch is cut for a label, payments count as without it."""
    rows = [Row(START + n * MINUTE, n % 5 == 0, START + (n + 3) * MINUTE) for n in range(300)]
    with_labels, without = replay(table(rows)), replay(table([row._replace(fraud=None) for row in rows]))
    others = [column for name, column in INDEX.items() if name not in MOVED]
    assert with_labels[:, others].tobytes() == without[:, others].tobytes()
    assert with_labels[:, INDEX["card_frauds_30d"]].max() > 0


def test_fraud_rate_moves_only_with_a_matured_label() -> None:
    """Both must have passed: the delay of the rate's window, and the time at which the label was said."""
    last, honest = Row(START + 9 * DAY), Row(START)
    fraud = Row(START, True, START + 2 * DAY)

    def rate(*rows: Row) -> float:
        return values(rows, "merchant_fraud_rate_7d", 1)[-1]

    assert rate(honest, fraud, last) == 0.5
    # known, and its window still open
    assert rate(honest, fraud, last._replace(event_ms=START + 6 * DAY)) == 0.0
    # its window closed, and not known
    assert rate(honest, fraud._replace(known_ms=last.event_ms + 1), last) == 0.0
    assert rate(honest, fraud._replace(known_ms=last.event_ms), last) == 0.0
    assert rate(honest, fraud._replace(known_ms=last.event_ms - 1), last) == 0.5


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("delay_ms", [-9 * DAY, -1, 0], ids=["days before", "just before", "right after"])
def test_no_feature_of_a_row_knows_its_own_label(delay_ms: int, batch: int) -> None:
    """Whatever the label's time says; also of rows that come at the same moment, or late. The names of those that do are listed."""
    moments = [*(START + n * HOUR for n in range(6)), START + 5 * HOUR, START + 9 * DAY, START + 8 * DAY]
    rows = [Row(ms, n % 2 == 0, ms + delay_ms) for n, ms in enumerate(moments)]
    for at in range(len(rows)):
        other = [*rows[:at], rows[at]._replace(fraud=not rows[at].fraud), *rows[at + 1 :]]
        before, after = (replay(table(said), batch=batch)[: at + 1] for said in (rows, other))
        moved = ((before != after) & ~(np.isnan(before) & np.isnan(after))).any(axis=0)
        assert [NAMES[column] for column in np.flatnonzero(moved)] == []


@pytest.mark.parametrize("name", MOVED)
def test_every_feature_of_labels_knows_one_right_after(name: str) -> None:
    """With a delay of 0 the next row knows it: the test above would otherwise hold for features that never see a label."""
    fraud = Row(START + 10 * HOUR, True, START + 10 * HOUR)
    later = Row(fraud.event_ms + (7 * DAY + 6 * HOUR if "rate" in name else 1))
    assert values([fraud, later], name, 1)[1] > values([fraud._replace(fraud=None), later], name, 1)[1]


def test_a_late_payment_is_served_with_what_is_known_when_it_comes() -> None:
    fraud, late = Row(START, True, START + 2 * DAY), Row(START + DAY)
    assert values([fraud, late, Row(START + 3 * DAY)], "card_frauds_30d") == [0, 0, 1]
    assert values([fraud, Row(START + 3 * DAY), late], "card_frauds_30d") == [0, 1, 1]


@pytest.mark.parametrize(("frauds", "delay", "pieces"), [(0, 0, 4), (50, 3, 54), (1000, 0, 1000)])
def test_batches_are_cut_where_labels_become_known_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, frauds: int, delay: int, pieces: int
) -> None:
    calls = []
    fill = features.replay.fill_features

    def counted(*arguments: Any, **options: Any) -> None:
        calls.append(len(arguments[0]))
        fill(*arguments, **options)

    monkeypatch.setattr(features.replay, "fill_features", counted)
    rows = [Row(START + n * MINUTE, n < frauds, START + (n + delay) * MINUTE) for n in range(1000)]
    found = replay(table(rows))
    assert sum(calls) == 1000 and math.ceil(1000 / BATCH) == 4
    assert len(calls) <= pieces
    assert np.isfinite(found[:, INDEX["card_count_24h"]]).all()
