"""Data sets from what a stack stored: served features joined with decisions and outcomes, and the first model's data set."""

from __future__ import annotations

from collections.abc import Mapping
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
from features.identity_column import identity_column
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS
from models.training.dataset import Dataset, FloatArray, fields_of, known_rows, milliseconds, stated
from models.training.label_states import MATURITY_MS, Labels, LabelState, Silence, label_states, weights_of

_MS = pa.timestamp("ms", tz="UTC")
#: a seed's columns of fields: features have some of the same names
_FIELD_PREFIX = "field_"
#: field -> its column in the archive
_FIELDS = {
    name: {"channel": "channel_name", "mcc": "mcc_code"}.get(name, name)
    for name in sorted(NUMBER_FIELDS | TEXT_FIELDS)
}
_OUTCOMES = {"transaction_id": pa.string(), "tenant": pa.string(), "label": pa.string(), "label_time": _MS}
_DECISIONS = {
    "transaction_id": pa.string(), "tenant": pa.string(), "decision": pa.string(), "propensity": pa.float64(), "score": pa.float64(),
}  # fmt: skip


def save_seed(table: pa.Table, matrix: FloatArray, folder: Path, as_of_ms: int, silence: Silence) -> Path:
    """Store the first model's data set for later trainings, as one Parquet file; an existing one is replaced."""
    columns = {
        "card_id": table["card_id"], "event_timestamp": pc.cast(table["event_time"], _MS),
        "label": pc.cast(table["label"], pa.string()), "label_time": pc.cast(table["label_time"], _MS),
        **{column: pa.array(matrix[:, INDEX[name]]) for name, column in COLUMNS.items()},
    }  # fmt: skip
    if (fields := fields_of(table)) is not None:
        columns |= {_FIELD_PREFIX + name: fields[name] for name in fields.column_names}
    seed = pa.table(columns).replace_schema_metadata({"as_of_ms": str(as_of_ms), "silence": silence})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "seed.parquet"
    tmp = path.with_suffix(".tmp")
    pq.write_table(seed, tmp, compression="zstd")
    tmp.replace(path)
    return path


def load_seed(folder: Path) -> Dataset | None:
    """The stored seed as of its cut-off. If its catalogue is another one, only entries of the same version are filled.

    None if there is no seed, or it has no amount as defined today, by which rows without features are recognised.
    """
    path = folder / "seed.parquet"
    if not path.exists():
        return None
    table = pq.read_table(path)
    known = {name: column for name, column in COLUMNS.items() if column in table.column_names}
    if "amount" not in known:
        return None
    metadata = table.schema.metadata
    # version 0.2.0 stored no meaning of silence: it was honest
    silence: Silence = "unknown" if metadata.get(b"silence") == b"unknown" else "honest"
    event_ms = milliseconds(table["event_timestamp"])
    labels = label_states(stated(table), event_ms, int(metadata[b"as_of_ms"]), silence=silence)
    named = {
        name.removeprefix(_FIELD_PREFIX): name
        for name in table.column_names
        if name.startswith(_FIELD_PREFIX)
    }
    fields = table.select([*named.values()]).rename_columns([*named]) if named else None
    return known_rows(_matrix(table, known), labels, table["card_id"], fields)


def from_archive(
    archive: Path, *, as_of_ms: int | None = None, since_ms: int | None = None, until_ms: int | None = None,
    newest: int = 2_000_000, attributes: Attributes = NO_ATTRIBUTES,
) -> Dataset | None:  # fmt: skip
    """Served features joined with decisions and outcomes by identity; None if no row has a known label.

    A declined payment without a label is only inferred (``Dataset.inferred``); one whose label was there before it came is left out: its
    features may know it. Of
    payments that exploration drew for, those that were let through stand for all (``weight``); the others are left out, labelled or not.

    Args:
        archive: folder with ``features``, ``decisions`` and ``outcomes``, each ``date=*/*.parquet``.
        as_of_ms: the cut-off, at which a row must have matured. None: the newest archived event time. Every archived label counts,
            because an archive holds only labels that have arrived.
        since_ms, until_ms: only rows with event time in [since, until]; None: unbounded.
        newest: at most so many of the newest matured rows are read (rows of one millisecond are kept together).
        attributes: that the stack declares, for rules that name them.
    """
    if not any((archive / "features").glob("date=*/*.parquet")):
        return None
    fields = _FIELDS | {
        PREFIX + name: attribute_column(name, found.type) for name, found in attributes.declared.items()
    }
    names = ["event_timestamp", *fields.values(), *COLUMNS.values()]
    schema = schema_with(attributes)
    # with an explicit schema, because older files lack the columns of newer entries
    features = _dataset(archive / "features", pa.schema([schema.field(name) for name in names]))
    span = _span(features, as_of_ms, since_ms, until_ms, newest)
    if span is None:
        return None
    (first_ms, last_ms), as_of_ms = span
    inside = (ds.field("event_timestamp") >= _at(first_ms)) & (ds.field("event_timestamp") <= _at(last_ms))
    rows = first_of_each(features.to_table(names, filter=inside)).sort_by("event_timestamp")
    labels, weight, chance = _labels_of(rows, archive, as_of_ms)
    if not (labels.state <= LabelState.FRAUD).any():
        return None
    return known_rows(
        _matrix(rows, COLUMNS), labels, rows["card_id"], fields_of(rows, fields), weight, chance
    )


def _labels_of(rows: pa.Table, archive: Path, as_of_ms: int) -> tuple[Labels, FloatArray, FloatArray]:
    """The label and the weight of each row, and the chance of fraud that it was declined with; NaN where others stand for it."""
    event_ms = milliseconds(rows["event_timestamp"])
    # newest first, because ``index_in`` takes the first match: of a transaction's labels the newest counts
    told = _read(archive / "outcomes", _OUTCOMES).sort_by([("label_time", "descending")])
    said = stated(told.take(pc.index_in(identity_column(rows), identity_column(told))))
    decisions = _read(archive / "decisions", _DECISIONS)
    decisions = decisions.take(pc.index_in(identity_column(rows), identity_column(decisions)))
    declined = np.asarray(pc.fill_null(pc.equal(decisions["decision"], "decline"), False)).astype(bool)
    propensity = pc.fill_null(decisions["propensity"], np.nan).to_numpy()
    labels = label_states(
        said.arrived(), event_ms, as_of_ms, silence="honest", declined=declined, represented=declined & (propensity > 0),
    )  # fmt: skip
    early = (said.fraud | said.honest) & (said.label_ms <= event_ms)
    labels.state[early & (labels.state <= LabelState.FRAUD)] = LabelState.UNKNOWN
    score = pc.fill_null(decisions["score"], np.nan).to_numpy()
    chance = np.where(declined & ~(propensity > 0), score, np.nan).astype(np.float32)
    return labels, weights_of(propensity, declined), chance


def _span(
    features: Any, as_of_ms: int | None, since_ms: int | None, until_ms: int | None, newest: int
) -> tuple[tuple[int, int], int] | None:
    """((first, last) event time to read, cut-off), all ms; None if no row has matured in it."""
    event_ms = milliseconds(features.to_table(["event_timestamp"])["event_timestamp"])
    if not len(event_ms):
        return None
    cut_off = int(event_ms.max()) if as_of_ms is None else as_of_ms
    last_ms = min(cut_off - MATURITY_MS, cut_off if until_ms is None else until_ms)
    first_ms = int(event_ms.min()) if since_ms is None else since_ms
    chosen = event_ms[(event_ms >= first_ms) & (event_ms <= last_ms)]
    if not len(chosen):
        return None
    if len(chosen) > newest:
        first_ms = int(np.partition(chosen, len(chosen) - newest)[len(chosen) - newest])
    return (first_ms, last_ms), cut_off


def _at(ms: int) -> pa.Scalar:
    return pa.scalar(ms, pa.int64()).cast(_MS)


def _read(folder: Path, columns: Mapping[str, pa.DataType]) -> pa.Table:
    schema = pa.schema(list(columns.items()))
    if not any(folder.glob("date=*/*.parquet")):
        return schema.empty_table()
    return _dataset(folder, schema).to_table()


def first_of_each(table: pa.Table) -> pa.Table:
    """One row per transaction: the archive may hold one twice."""
    rows = pa.table({"key": identity_column(table), "row": pa.array(np.arange(table.num_rows))})
    kept = rows.group_by("key").aggregate([("row", "min")])["row_min"]
    return table if len(kept) == table.num_rows else table.take(kept)


def _dataset(folder: Path, schema: pa.Schema) -> Any:
    # list the files: a writer's temporary files beside them must not be read
    files = [str(path) for path in sorted(folder.glob("date=*/*.parquet"))]
    return ds.dataset(files, schema=schema, format="parquet")


def _matrix(table: pa.Table, columns: Mapping[str, str]) -> FloatArray:
    """Features (rows, WIDTH) of a table; ``columns``: feature name to column name. Features not named are NaN."""
    out = np.full((table.num_rows, WIDTH), np.nan, np.float32)
    for name, column in columns.items():
        out[:, INDEX[name]] = table[column].to_numpy()
    return out
