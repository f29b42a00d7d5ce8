"""The archive by day: which days there are, some columns of one, and its decided transactions with their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.identity_column import identity_column
from models.training.archived import first_of_each
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES

_IDENTITY = ("transaction_id", "tenant")
_LABEL = ("label", "label_time")


@dataclass(frozen=True)
class Span:
    """Days with archived features that may hold rows from ``since_ms`` on; times in ms since 1970."""

    days: list[str]
    since_ms: int
    newest_ms: int
    rows: int


def span(archive: Path, back_ms: int) -> Span | None:
    """The days of the last ``back_ms`` milliseconds before the newest archived event; None if the archive is empty."""
    folders = sorted((archive / FEATURES.name).glob("date=*"))
    # the first file of an archive has columns and no rows
    newest = next((folder for folder in reversed(folders) if _rows_in(folder)), None)
    if newest is None:
        return None
    newest_ms = int(pc.max(read_columns(newest.glob("*.parquet"), FEATURE_SCHEMA, ["event_timestamp"])["event_timestamp"].cast(pa.int64())).as_py())  # fmt: skip
    since_ms = newest_ms - back_ms
    first = f"date={np.datetime64(since_ms, 'ms').astype('datetime64[D]')}"
    chosen = [folder for folder in folders if first <= folder.name <= newest.name]
    return Span([folder.name for folder in chosen], since_ms, newest_ms, sum(map(_rows_in, chosen)))


def _rows_in(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def decided_day(
    archive: Path,
    day: str,
    schema: pa.Schema,
    names: Sequence[str],
    since_ms: int,
    of_decision: Sequence[str],
) -> pa.Table:
    """The decided transactions of one day from ``since_ms`` on, each once.

    Args:
        schema, names: of the columns of `features`; identity and ``event_timestamp`` come too.
        of_decision: columns of `decisions`. ``label`` and ``label_time`` are those of the newest label, null without one.
    """

    def read(topic: str, schema: pa.Schema, names: Iterable[str], where: Any = None) -> pa.Table:
        return read_columns((archive / topic / day).glob("*.parquet"), schema, [*_IDENTITY, *names], where)

    since = pc.field("event_timestamp") >= pa.scalar(since_ms, pa.timestamp("ms", tz="UTC"))
    table = first_of_each(read(FEATURES.name, schema, ["event_timestamp", *names], since))
    decisions = read(DECISIONS.name, DECISION_SCHEMA, of_decision)
    # newest label first: ``index_in`` takes the first match
    outcomes = read(OUTCOMES.name, OUTCOME_SCHEMA, _LABEL).sort_by([("label_time", "descending")])
    place = pc.index_in(identity_column(table), identity_column(decisions))
    table = table.filter(pc.is_valid(place))
    labelled = pc.index_in(identity_column(table), identity_column(outcomes))
    for other, rows, columns in ((decisions, pc.drop_null(place), of_decision), (outcomes, labelled, _LABEL)):
        for name in columns:
            table = table.append_column(name, other[name].take(rows))
    return table


def read_columns(
    files: Iterable[Path], schema: pa.Schema, names: Iterable[str], where: Any = None
) -> pa.Table:
    """Some columns of a topic's files; an empty table if there are none."""
    wanted = pa.schema([schema.field(name) for name in dict.fromkeys(names)])
    paths = [str(path) for path in sorted(files)]
    if not paths:
        return wanted.empty_table()
    # with the schema given, a column that a file lacks is null
    return ds.dataset(paths, schema=wanted, format="parquet").to_table(filter=where)
