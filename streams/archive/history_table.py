"""Builds a history table (transactions, decisions, labels) from the archive, for ``features.replay.replay``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features.catalogue import WIDTH
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES

#: columns of a history (decision 1) whose name in the archive is another
_ARCHIVED = {
    "event_time": "event_timestamp",
    "arrival_time": "created_timestamp",
    "channel": "channel_name",
    "mcc": "mcc_code",
}


class Archived(NamedTuple):
    """``history``: transactions in order of arrival, with ``arrival_time`` and, where it is known, ``decision`` and ``decided_at``.
    ``labels``: all that was said of decided ones, corrections too.
    """

    history: pa.Table
    labels: pa.Table


def archived_history(archive: Path) -> Archived:
    """All transactions of an archive, to be replayed; empty where there are none.

    A label that was corrected before its transaction was decided is not in the archive; the correction is.
    """
    names = [_ARCHIVED.get(name, name) for name in _history_names()]
    table = _read(archive / FEATURES.name, FEATURE_SCHEMA, [*names, "partition", "offset"])
    table = table.sort_by([(name, "ascending") for name in ("created_timestamp", "partition", "offset")])
    table = table.select(names).rename_columns(_history_names())
    decisions = _read(archive / DECISIONS.name, DECISION_SCHEMA, ["transaction_id", "decision", "decided_at"])
    place = pc.index_in(table["transaction_id"], decisions["transaction_id"].combine_chunks())
    for name in ("decision", "decided_at"):
        table = table.append_column(name, decisions[name].take(place))
    return Archived(
        table, _read(archive / OUTCOMES.name, OUTCOME_SCHEMA, ["transaction_id", "label", "label_time"])
    )


def _history_names() -> list[str]:
    theirs = {there: name for name, there in _ARCHIVED.items()}
    plain = FEATURE_SCHEMA.names[:-WIDTH]
    return [theirs.get(name, name) for name in plain if name not in ("partition", "offset", "missing")]


def _read(folder: Path, schema: pa.Schema, names: list[str]) -> pa.Table:
    wanted = pa.schema([schema.field(name) for name in names])
    files = [str(path) for path in sorted(folder.glob("date=*/*.parquet"))]
    if not files:
        return wanted.empty_table()
    # the schema is named, so that a column which older files lack is null there
    return ds.dataset(files, schema=wanted, format="parquet").to_table()
