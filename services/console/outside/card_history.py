"""A card's payments from the archive's Parquet, newest first: what the console itself does not keep, because it was approved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from streams.archive.tables import DECISION_SCHEMA
from streams.log.topics import DECISIONS, FEATURES

#: days that are looked through, and files of one day: the archive has a few an hour
MAX_DAYS, MAX_FILES = 31, 400
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
    last = datetime.fromtimestamp(until_ms / 1000, UTC).date() + timedelta(days=1)
    for back in range(MAX_DAYS + 1):
        day = f"date={last - timedelta(days=back)}"
        paid = _rows(archive / FEATURES.name / day, FEATURE_SCHEMA, _PAID, tenant, card_id)
        if paid:
            decided = _rows(archive / DECISIONS.name / day, DECISION_SCHEMA, _DECIDED, tenant, card_id)
            found += _joined(paid, decided)
        if len(found) >= limit:
            break
    found.sort(key=lambda row: str(row["event_time"]), reverse=True)
    return found[:limit]


def _rows(
    folder: Path, schema: pa.Schema, columns: list[str], tenant: str, card_id: str
) -> list[dict[str, Any]]:
    files = [str(path) for path in sorted(folder.glob("*.parquet"), reverse=True)[:MAX_FILES]]
    if not files:
        return []
    wanted = (pc.field("card_id") == card_id) & (pc.field("tenant") == tenant)
    table = ds.dataset(files, schema=schema, format="parquet").to_table(columns=columns, filter=wanted)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


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
