"""Archived payments of one entity, a day at a time: newest days first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features.feast_repo.archived import SCHEMA
from streams.log.topics import FEATURES

#: days that are looked through, and files of one day: the archive has a few an hour
MAX_DAYS, MAX_FILES = 31, 400


def days_until(until_ms: int) -> Iterator[str]:
    """Names of the archive's folders of days, from the day after a moment backwards."""
    last = datetime.fromtimestamp(until_ms / 1000, UTC).date() + timedelta(days=1)
    for back in range(MAX_DAYS + 1):
        yield f"date={last - timedelta(days=back)}"


def rows_of(folder: Path, schema: pa.Schema, columns: list[str], wanted: dict[str, str]) -> pa.Table:
    """The rows of one day's folder whose columns have the ``wanted`` values; an empty table where there is none.

    Args:
        schema: of the archive's table; a column that a file lacks is null.
    """
    files = [str(path) for path in sorted(folder.glob("*.parquet"), reverse=True)[:MAX_FILES]]
    if not files:
        return schema.empty_table().select(columns)
    condition = pc.scalar(True)
    for name, value in wanted.items():
        condition &= pc.field(name) == value
    return ds.dataset(files, schema=schema, format="parquet").to_table(columns=columns, filter=condition)


def amounts_of(archive: Path, column: str, entity_id: str, until_ms: int) -> pa.Table:
    """``event_timestamp``, ``amount_minor`` and ``currency`` of the archived payments whose ``column`` names an entity, up to a day
    after a moment."""
    names, wanted = ["event_timestamp", "amount_minor", "currency"], {column: entity_id}
    folder = archive / FEATURES.name
    return pa.concat_tables([rows_of(folder / day, SCHEMA, names, wanted) for day in days_until(until_ms)])
