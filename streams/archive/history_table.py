"""Builds a history table (transactions, decisions, labels) from the archive, for ``features.replay.replay``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import WIDTH
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.identity_column import identity_column
from streams.archive.days import read_columns
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES

#: columns of a history (decision 1) that have another name in the archive
_ARCHIVED = {
    "event_time": "event_timestamp",
    "arrival_time": "created_timestamp",
    "channel": "channel_name",
    "mcc": "mcc_code",
}


class Archived(NamedTuple):
    """``history``: transactions in order of arrival, with ``arrival_time`` and, where known, ``decision`` and ``decided_at``.
    ``labels``: all labels of decided transactions, with corrections.
    """

    history: pa.Table
    labels: pa.Table


def archived_history(archive: Path) -> Archived:
    """All transactions and labels of an archive, for a replay; empty tables if it has none.

    If a label was corrected before its transaction was decided, the archive holds only the correction.
    """
    names = [_ARCHIVED.get(name, name) for name in _history_names()]
    table = _read(archive / FEATURES.name, FEATURE_SCHEMA, [*names, "partition", "offset"])
    table = table.sort_by([(name, "ascending") for name in ("created_timestamp", "partition", "offset")])
    table = table.select(names).rename_columns(_history_names())
    decisions = _read(
        archive / DECISIONS.name, DECISION_SCHEMA, ["transaction_id", "tenant", "decision", "decided_at"]
    )
    place = pc.index_in(identity_column(table), identity_column(decisions).combine_chunks())
    for name in ("decision", "decided_at"):
        table = table.append_column(name, decisions[name].take(place))
    return Archived(
        table,
        _read(archive / OUTCOMES.name, OUTCOME_SCHEMA, ["transaction_id", "tenant", "label", "label_time"]),
    )


def _history_names() -> list[str]:
    theirs = {there: name for name, there in _ARCHIVED.items()}
    plain = FEATURE_SCHEMA.names[:-WIDTH]
    return [theirs.get(name, name) for name in plain if name not in ("partition", "offset", "missing")]


def _read(folder: Path, schema: pa.Schema, names: list[str]) -> pa.Table:
    return read_columns(folder.glob("date=*/*.parquet"), schema, names)
