"""Reads past transactions from the archive, day by day: fields, some features, score and label."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.attributes import NO_ATTRIBUTES, PREFIX, Attributes
from features.catalogue import INDEX, WIDTH
from features.feast_repo.archived import COLUMNS, attribute_column, schema_with
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.identity_column import identity_column
from models.policy.comparison import PastRows
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS, TableColumns
from models.training.dataset import milliseconds, stated
from models.training.label_states import LabelState, label_states
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES

#: fields that have another column name in the archive
_COLUMN = {"channel": "channel_name", "mcc": "mcc_code"}
#: rows per slice: a matrix of 4,096 rows takes 4 MB
SLICE = 4_096


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
    newest_ms = int(pc.max(read_day(newest, FEATURE_SCHEMA, ["event_timestamp"])["event_timestamp"].cast(pa.int64())).as_py())  # fmt: skip
    since_ms = newest_ms - back_ms
    first = f"date={np.datetime64(since_ms, 'ms').astype('datetime64[D]')}"
    chosen = [folder for folder in folders if first <= folder.name <= newest.name]
    return Span([folder.name for folder in chosen], since_ms, newest_ms, sum(map(_rows_in, chosen)))


def _rows_in(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def past_rows(
    archive: Path, found: Span, features: Collection[str], attributes: Attributes = NO_ATTRIBUTES
) -> Iterator[PastRows]:
    """Decided transactions of a span, in slices, with the ``attributes`` that the stack declares. Only the named features are read; the
    others are NaN."""
    names = sorted(NUMBER_FIELDS | TEXT_FIELDS)
    columns = [_COLUMN.get(name, name) for name in names]
    for name, declared in attributes.declared.items():
        names.append(PREFIX + name)
        columns.append(attribute_column(name, declared.type))
    schema = schema_with(attributes)
    for day in found.days:
        table = read_day(
            archive / FEATURES.name / day, schema, ["event_timestamp", *columns, *(COLUMNS[name] for name in features)],
            pc.field("event_timestamp") >= pa.scalar(found.since_ms, pa.timestamp("ms", tz="UTC")),
        )  # fmt: skip
        decisions = read_day(
            archive / DECISIONS.name / day, DECISION_SCHEMA, ["transaction_id", "tenant", "score", "decision"]
        )
        outcomes = read_day(
            archive / OUTCOMES.name / day, OUTCOME_SCHEMA, ["transaction_id", "tenant", "label", "label_time"]
        )
        # newest label first: ``index_in`` takes the first match
        outcomes = outcomes.sort_by([("label_time", "descending")])
        decided = pc.index_in(identity_column(table), identity_column(decisions))
        known = pc.is_valid(decided)
        table, decided = table.filter(known), pc.drop_null(decided)
        told = pc.index_in(identity_column(table), identity_column(outcomes))
        for name in ("score", "decision"):
            table = table.append_column(name, decisions[name].take(decided))
        for name in ("label", "label_time"):
            table = table.append_column(name, outcomes[name].take(told))
        for start in range(0, table.num_rows, SLICE):
            yield _rows(table.slice(start, SLICE), names, columns, features, found.newest_ms)


def _rows(
    table: pa.Table, names: list[str], columns: list[str], features: Collection[str], newest_ms: int
) -> PastRows:
    matrix = np.full((table.num_rows, WIDTH), np.nan, np.float32)
    for name in features:
        matrix[:, INDEX[name]] = table[COLUMNS[name]].to_numpy()
    declined = np.asarray(pc.fill_null(pc.equal(table["decision"], "decline"), False))
    # a stated label counts at once: a rule is not trained, so frauds that are reported sooner than honest payments do no harm
    labels = label_states(
        stated(table).arrived(), milliseconds(table["event_timestamp"]), newest_ms, silence="honest", declined=declined,
        wait=False,
    )  # fmt: skip
    fields = {name: table[column].to_pylist() for name, column in zip(names, columns, strict=True)}
    return PastRows(
        scores=table["score"].to_numpy().astype(np.float32), matrix=matrix, columns=TableColumns(fields),
        amount_minor=table["amount_minor"].to_numpy(), currency=np.array(fields["currency"], dtype=object),
        fraud=labels.state == LabelState.FRAUD, honest=labels.state == LabelState.HONEST,
        censored=labels.state == LabelState.CENSORED,
    )  # fmt: skip


def read_day(folder: Path, schema: pa.Schema, names: list[str], where: Any = None) -> pa.Table:
    """Some columns of one day of a topic's archive; an empty table if it has no files."""
    wanted = pa.schema([schema.field(name) for name in dict.fromkeys(names)])
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    if not files:
        return wanted.empty_table()
    # with the schema given, a column that a file lacks is null
    return ds.dataset(files, schema=wanted, format="parquet").to_table(filter=where)
