"""The table of what a challenger costs: a line for each way to decide, in small."""

from __future__ import annotations

from loadtest.bench.models.shadow import Traffic, shadow_rows
from models.training.learners.parameters import Parameters


def test_each_way_to_decide_is_measured() -> None:
    traffic = Traffic(12_000, Parameters(rounds=10, max_depth=3, threads=1))
    rows = {row.what: row for row in shadow_rows(traffic, sizes={20: 100.0}, rounds=2, rows=100)}
    ways = ["one model", "no rollout", "shadow", "canary of 5 %", "canary of 50 %"]
    more = [f"batches of 20: {way}, more CPU a transaction" for way in ways[1:]]
    more.insert(2, "batches of 20: shadow, more of a batch's time, p99")
    assert list(rows) == [*(f"decide and encode, batches of 20: {way}" for way in ways), *more]
    assert all(len(row.runs) == (1 if "p99" in what else 2) for what, row in rows.items())
    assert all(row.middle > 0 for row in list(rows.values())[: len(ways)])
    # only the shadow has limits, and is compared with them
    assert {what for what, row in rows.items() if row.reached} == {
        what for what in rows if what.startswith("batches of 20: shadow")
    }
