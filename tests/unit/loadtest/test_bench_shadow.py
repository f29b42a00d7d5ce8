"""The table of what a challenger costs: a line for each way to decide, in small."""

from __future__ import annotations

from loadtest.bench.models.shadow import Traffic, shadow_rows
from models.training.training import Parameters


def test_each_way_to_decide_is_measured() -> None:
    traffic = Traffic(12_000, Parameters(rounds=10, max_depth=3, threads=1))
    rows = {row.what: row for row in shadow_rows(traffic, sizes={20: 100.0}, rounds=2, rows=100)}
    ways = ["one model", "no rollout", "shadow", "canary of 5 %", "canary of 50 %"]
    assert list(rows) == [
        *(f"decide and encode, batches of 20: {way}" for way in ways),
        *(f"batches of 20: {way}, more CPU a transaction" for way in ways[1:]),
    ]
    assert all(len(row.runs) == 2 for row in rows.values())
    assert all(row.middle > 0 for row in list(rows.values())[: len(ways)])
    # only the shadow has a limit, and it is compared
    assert [bool(row.reached) for row in rows.values()] == [
        what.startswith("batches of 20: shadow") for what in rows
    ]
