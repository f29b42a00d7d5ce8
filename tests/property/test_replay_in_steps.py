"""A replay in steps gives the bits of one that knows all labels and declines from the start, whatever the steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from features.replay import BATCH, Replay, replay
from loadtest.traffic.simulator import Plan, create_world, history_table
from models.training.dataset import milliseconds

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("step", [BATCH, 4 * BATCH, 100_000])
def test_steps_change_nothing(step: int) -> None:
    table = history_table(
        create_world(3, 300), START, START + timedelta(days=20), plan=Plan(fraud_rate=0.05), count=3_000
    )
    label_ms, event_ms = milliseconds(table["label_time"]), milliseconds(table["event_time"])
    fraud = table["label"].to_numpy(zero_copy_only=False) == "fraud"
    declined = np.random.default_rng(1).random(table.num_rows) < 0.05
    decided = table.append_column(
        "decision", pa.array(np.where(declined, "decline", "approve"))
    ).append_column("decided_at", pa.array(event_ms + 5).cast(table["event_time"].type))
    whole = replay(decided)
    going = Replay(table)
    blocks, rows = [], np.arange(table.num_rows)
    known_ms = np.maximum(np.maximum(label_ms, event_ms) + 1, event_ms + 5)
    # all that is known by then and no more: a label is told before the step in which it becomes known
    waiting = fraud.copy()
    for begin in range(0, table.num_rows, step):
        end = min(begin + step, table.num_rows)
        until = event_ms[end - 1]
        now = waiting & (known_ms <= until)
        going.frauds(rows[now], known_ms[now])
        some = declined & (rows >= begin) & (rows < end)
        going.declines(rows[some], event_ms[some] + 5)
        waiting &= ~now
        blocks.append(going.until(end))
    assert np.array_equal(np.concatenate(blocks), whole, equal_nan=True)
