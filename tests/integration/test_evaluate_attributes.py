"""``tollgate evaluate`` on a table with informative columns of one's own: what they gain."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.cli.main import run

ROWS, DAYS = 6_000, 40
START = datetime(2026, 1, 1, tzinfo=UTC)
MAPPING = """
[fields]
transaction_id = "id"
event_time = "at"
card_id = "card"
merchant_id = "shop"
amount_minor = { column = "amount", exponent = 2, round = "half_even" }
currency = { constant = "EUR" }
[label]
column = "bad"
[attributes]
tier = "tier"
basket_items = { column = "items", type = "number" }
"""


def table() -> pa.Table:
    """Fraud depends on what no field says: new customers with large baskets, and a little on the amount."""
    rng = np.random.default_rng(11)
    tier, items = rng.integers(0, 4, ROWS), rng.gamma(2.0, 4.0, ROWS).round(1)
    amount = np.exp(rng.normal(3.5, 1.0, ROWS)).round(2)
    risk = np.where((tier == 3) & (items > 10), 0.5, 0.01) + np.where(amount > 200, 0.1, 0.0)
    return pa.table(
        {
            "id": [f"t-{n}" for n in range(ROWS)], "card": [f"c-{n}" for n in rng.integers(0, 900, ROWS)],
            "shop": [f"m-{n}" for n in rng.integers(0, 60, ROWS)], "amount": amount, "items": items,
            "at": [START + timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, DAYS * 86_400, ROWS))],
            "tier": np.array(["gold", "silver", "basic", "new"], dtype=object)[tier], "bad": (rng.random(ROWS) < risk).astype(int),
        }
    )  # fmt: skip


def test_evaluate_says_what_attributes_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(table(), tmp_path / "t.parquet")
    (tmp_path / "m.toml").write_text(MAPPING)
    arguments = [
        "evaluate", str(tmp_path / "t.parquet"), "--mapping", str(tmp_path / "m.toml"), "--train", "2026-01-01:2026-01-24",
        "--test", "2026-01-28:2026-02-09", "--delay-days", "3", "--home", str(tmp_path),
    ]  # fmt: skip
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["average_precision"] > found["without_attributes"]["average_precision"] + 0.15
    assert run(arguments) == 0
    assert "without attributes" in capsys.readouterr().out
