"""A card's payments from the archive's Parquet, newest first: what the console itself does not keep, because it was approved."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.feast_repo.archived import COLUMNS
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from streams.archive.payments_of import days_until, rows_of
from streams.archive.tables import DECISION_SCHEMA
from streams.log.topics import DECISIONS, FEATURES

#: a card's earlier payments that a decision is held against
MAX_PAST = 100
_PAID = [
    "transaction_id",
    "amount_minor",
    "currency",
    "merchant_id",
    "channel_name",
    "country",
    "event_timestamp",
]
_DECIDED = ["transaction_id", "decision", "status", "score", "event_timestamp"]


def payments_of_card(
    archive: Path, tenant: str, card_id: str, until_ms: int, limit: int
) -> list[dict[str, Any]]:
    """Decided payments of a card up to a day after a moment, at most ``limit``; whole days, the newest first."""
    found: list[dict[str, Any]] = []
    wanted = {"card_id": card_id, "tenant": tenant}
    for day in days_until(until_ms):
        paid = rows_of(archive / FEATURES.name / day, FEATURE_SCHEMA, _PAID, wanted).to_pylist()
        if paid:
            decided = rows_of(archive / DECISIONS.name / day, DECISION_SCHEMA, _DECIDED, wanted).to_pylist()
            found += _joined(paid, decided)
        if len(found) >= limit:
            break
    found.sort(key=lambda row: str(row["event_time"]), reverse=True)
    return found[:limit]


def features_of_card(archive: Path, tenant: str, card_id: str, before: datetime) -> pa.Table:
    """Features of a card's archived payments before a moment, a column each by its name; of the newest ``MAX_PAST`` or a few more."""
    wanted, columns = {"card_id": card_id, "tenant": tenant}, [*COLUMNS.values(), "event_timestamp"]
    found: list[pa.Table] = []
    for day in days_until(int(before.timestamp() * 1000)):
        table = rows_of(archive / FEATURES.name / day, FEATURE_SCHEMA, columns, wanted)
        found.append(table.filter(pc.field("event_timestamp") < before))
        if sum(map(len, found)) >= MAX_PAST:
            break
    return pa.concat_tables(found).select(list(COLUMNS.values())).rename_columns(list(COLUMNS))


def _joined(paid: list[dict[str, Any]], decided: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {row["transaction_id"]: row for row in decided}
    out = []
    for row in paid:
        decision = by_id.get(row["transaction_id"], {})
        at = row["event_timestamp"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        out.append(
            {
                **{name: row[name] for name in ("transaction_id", "amount_minor", "currency", "merchant_id", "country")},
                "channel": row["channel_name"], "event_time": at,
                **{name: decision.get(name) for name in ("decision", "status", "score")},
            }
        )  # fmt: skip
    return out
