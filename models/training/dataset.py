"""The data set: rows of features with the labels known at a cut-off, in order of event time.

It comes from a history table (the engine's replay computes the features) or from the archive (the served features). Frauds are
reported, most honest payments are not. So a row counts when it is old enough for a fraud to have been reported (``MATURITY_MS``),
and it is honest if none was. Younger rows are left out, with or without a report, to keep the share of frauds true. An
entry that was not in the catalogue when a row was made is NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.catalogue import CATALOGUE_HASH, INDEX, LABEL_DELAY_S, WIDTH
from features.feast_repo.archived import COLUMNS
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.identity_column import identity_column

FloatArray = npt.NDArray[np.float32]
DAY_MS = 86_400_000
#: age at which a transaction without a reported fraud counts as honest: the catalogue's label delay
MATURITY_MS = LABEL_DELAY_S * 1000
_MS = pa.timestamp("ms", tz="UTC")


class DatasetError(Exception):
    """There are no rows to learn from, or a table has the wrong form; the text says which."""

    #: exit code of commands that fail with it: bad input
    exit_code = 2


@dataclass(frozen=True)
class Dataset:
    """Rows in order of event time. ``event_ms`` is int64 ms since 1970 UTC, ``card`` an array of card ids."""

    matrix: FloatArray
    fraud: npt.NDArray[np.bool_]
    event_ms: npt.NDArray[np.int64]
    card: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def frauds(self) -> int:
        return int(self.fraud.sum())

    def take(self, rows: npt.NDArray[Any]) -> Dataset:
        """The rows selected by a mask or an index array."""
        return Dataset(self.matrix[rows], self.fraud[rows], self.event_ms[rows], self.card[rows])

    def between(self, start_ms: int, end_ms: int) -> Dataset:
        """Rows with event time in [start_ms, end_ms)."""
        return self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))

    def split(self, *shares: float) -> list[Dataset]:
        """Consecutive parts by event time; the last one takes the rest. ``split(0.7, 0.15)`` gives three."""
        edges = [int(len(self) * share) for share in np.cumsum(shares)]
        parts = np.split(np.arange(len(self)), edges)
        return [self.take(part) for part in parts]

    def fingerprint(self) -> str:
        """SHA-256 of features, labels and times; equal data gives an equal digest."""
        digest = hashlib.sha256(CATALOGUE_HASH.encode())
        for array in (self.matrix, self.fraud, self.event_ms):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def amount_minor(self) -> FloatArray:
        """Amount of each row in minor units (n,)."""
        return self.matrix[:, INDEX["amount"]]


def join(parts: list[Dataset]) -> Dataset:
    """Several data sets as one, in order of event time.

    Raises:
        DatasetError: the list is empty.
    """
    if not parts:
        raise DatasetError("no data set to join")
    event_ms = np.concatenate([part.event_ms for part in parts])
    whole = Dataset(
        np.concatenate([part.matrix for part in parts]), np.concatenate([part.fraud for part in parts]), event_ms,
        np.concatenate([part.card.astype(str) for part in parts]),
    )  # fmt: skip
    return whole.take(np.argsort(event_ms, kind="stable"))


def from_history(
    table: pa.Table, compute: Callable[[pa.Table], FloatArray], as_of_ms: int | None = None
) -> Dataset:
    """Compute the features of every row with ``compute`` (``features.replay.replay``) and keep the matured rows.

    Args:
        table: a history table, rows in order of arrival.
        as_of_ms: the cut-off; a label counts if its ``label_time`` is not later, a row if it is at least ``MATURITY_MS``
            older. None: all labels and all rows.

    Raises:
        DatasetError: the features do not match the table, or no row has matured.
    """
    matrix = compute(table)
    if matrix.shape != (table.num_rows, WIDTH):
        raise DatasetError(
            f"features are {matrix.shape}, the table has {table.num_rows} rows and the catalogue {WIDTH}"
        )
    return _matured(
        matrix, table["label"], table["label_time"], table["event_time"], table["card_id"], as_of_ms
    )


def save_seed(table: pa.Table, matrix: FloatArray, folder: Path, as_of_ms: int) -> Path:
    """Store the first model's data set for later trainings, as one Parquet file; an existing one is replaced."""
    columns = {
        "card_id": table["card_id"], "event_timestamp": pc.cast(table["event_time"], _MS),
        "label": pc.cast(table["label"], pa.string()), "label_time": pc.cast(table["label_time"], _MS),
        **{column: pa.array(matrix[:, INDEX[name]]) for name, column in COLUMNS.items()},
    }  # fmt: skip
    seed = pa.table(columns).replace_schema_metadata({"as_of_ms": str(as_of_ms)})
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
    as_of_ms = int(table.schema.metadata[b"as_of_ms"])
    return _matured(
        _matrix(table, known),
        table["label"],
        table["label_time"],
        table["event_timestamp"],
        table["card_id"],
        as_of_ms,
    )


def from_archive(archive: Path, *, as_of_ms: int | None = None, newest: int = 2_000_000) -> Dataset | None:
    """Served features joined with outcomes by identity; None if no row has matured yet.

    Args:
        archive: folder with ``features/date=*/*.parquet`` and ``outcomes/date=*/*.parquet``.
        as_of_ms: the cut-off, as in ``from_history``. None: the newest archived event time, because an archive holds only
            labels that have arrived.
        newest: most rows returned; the newest are kept.
    """
    if not any((archive / "features").glob("date=*/*.parquet")):
        return None
    names = ["transaction_id", "tenant", "card_id", "event_timestamp", *COLUMNS.values()]
    # with an explicit schema, because older files lack the columns of newer entries
    features = _dataset(archive / "features", pa.schema([FEATURE_SCHEMA.field(name) for name in names]))
    if as_of_ms is None:
        newest_event = pc.max(
            features.to_table(["event_timestamp"])["event_timestamp"].cast(_MS).cast(pa.int64())
        ).as_py()
        as_of_ms = int(newest_event or 0)
    old_enough = ds.field("event_timestamp") <= pa.scalar(as_of_ms - MATURITY_MS, pa.int64()).cast(_MS)
    rows = features.to_table(names, filter=old_enough)
    if not rows.num_rows:
        return None
    # the archive may hold a row twice; of a transaction's labels the newest counts
    joined = _one_each(rows, "min").join(_outcomes(archive / "outcomes"), "identity", join_type="left outer")
    joined = joined.sort_by("event_timestamp")
    joined = joined.slice(max(0, joined.num_rows - newest))
    return _matured(
        _matrix(joined, COLUMNS),
        joined["label"],
        joined["label_time"],
        joined["event_timestamp"],
        joined["card_id"],
        None,
    )


def _outcomes(folder: Path) -> pa.Table:
    text = pa.string()
    wanted = pa.schema([("transaction_id", text), ("tenant", text), ("label", text), ("label_time", _MS)])
    if not any(folder.glob("date=*/*.parquet")):
        return _one_each(wanted.empty_table(), "max").select(["identity", "label", "label_time"])
    # with the schema given: older files lack the tenant
    table = _dataset(folder, wanted).to_table().sort_by("label_time")
    return _one_each(table, "max").select(["identity", "label", "label_time"])


def _one_each(table: pa.Table, which: str) -> pa.Table:
    """One row per transaction: the first (``min``) or the last (``max``), with its ``identity``."""
    table = table.append_column("identity", identity_column(table))
    rows = pa.table({"key": table["identity"], "row": pa.array(np.arange(table.num_rows))})
    kept = rows.group_by("key").aggregate([("row", which)])[f"row_{which}"]
    return table if len(kept) == table.num_rows else table.take(kept)


def _matured(
    matrix: FloatArray, label: Any, label_time: Any, event_time: Any, card: Any, as_of_ms: int | None
) -> Dataset:
    fraud = np.asarray(pc.fill_null(pc.equal(pc.cast(label, pa.string()), "fraud"), False))
    event_ms = _milliseconds(event_time)
    # the engine gives repeated transactions no features, so they have no amount
    known = ~np.isnan(matrix[:, INDEX["amount"]])
    if as_of_ms is not None:
        fraud = fraud & (_milliseconds(label_time) <= as_of_ms)
        known = known & (event_ms <= as_of_ms - MATURITY_MS)
    if not known.any():
        raise DatasetError(
            f"no transaction is {MATURITY_MS // DAY_MS} days old at the cut-off: younger ones may still be reported as fraud"
        )
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(event_ms[rows], kind="stable")]
    cards = np.asarray(card.to_pandas())
    return Dataset(
        np.ascontiguousarray(matrix[rows], dtype=np.float32), fraud[rows], event_ms[rows], cards[rows]
    )


def _dataset(folder: Path, schema: pa.Schema | None = None) -> Any:
    # list the files: a writer's temporary files beside them must not be read
    files = [str(path) for path in sorted(folder.glob("date=*/*.parquet"))]
    return ds.dataset(files, schema=schema, format="parquet")


def _matrix(table: pa.Table, columns: Mapping[str, str]) -> FloatArray:
    """Features (rows, WIDTH) of a table; ``columns``: feature name to column name. Features not named are NaN."""
    out = np.full((table.num_rows, WIDTH), np.nan, np.float32)
    for name, column in columns.items():
        out[:, INDEX[name]] = table[column].to_numpy()
    return out


def _milliseconds(column: Any) -> npt.NDArray[np.int64]:
    """Milliseconds since 1970; absent times become a far future, later than any cut-off."""
    numbers = pc.cast(pc.cast(column, _MS, safe=False), pa.int64())
    return np.asarray(pc.fill_null(numbers, 2**62)).astype(np.int64)
