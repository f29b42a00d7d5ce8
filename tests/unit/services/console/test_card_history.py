"""A card's archived payments, as the console shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.feast_repo.archived import SCHEMA
from services.console.outside.card_history import payments_of_card
from streams.archive.tables import DECISION_SCHEMA

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def write(folder: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "part.parquet")


def test_payments_of_a_card_are_its_own_newest_first_with_their_decisions(tmp_path: Path) -> None:
    for back in (0, 1, 40):
        at = NOON - timedelta(days=back)
        rows = [
            {"transaction_id": f"{card}-{back}", "card_id": card, "tenant": tenant, "amount_minor": back, "currency": "EUR", "event_timestamp": at}
            for card, tenant in (("c", "a"), ("other", "a"), ("c", "b"))
        ]  # fmt: skip
        write(tmp_path / "features" / f"date={at:%Y-%m-%d}", SCHEMA, rows)
    decided = [
        {
            "transaction_id": "c-1",
            "card_id": "c",
            "tenant": "a",
            "decision": "review",
            "event_timestamp": NOON,
        }
    ]
    write(tmp_path / "decisions" / "date=2026-03-01", DECISION_SCHEMA, decided)
    until_ms = int(NOON.timestamp() * 1000)
    found = payments_of_card(tmp_path, "a", "c", until_ms, 10)
    # no further back than a month
    assert [(row["transaction_id"], row["decision"]) for row in found] == [("c-0", None), ("c-1", "review")]
    assert (found[0]["event_time"], found[0]["channel"]) == ("2026-03-02T12:00:00.000Z", None)
    assert payments_of_card(tmp_path, "a", "c", until_ms, 1) == found[:1]
    assert payments_of_card(tmp_path / "nothing", "a", "c", until_ms, 1) == []
