"""The data set: rows of features with the labels that were known at a cut-off, in order of event time.

From a history table (the engine's replay computes the features) or from the archive (the features that were served).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.catalogue import CATALOGUE_HASH, INDEX, NAMES, WIDTH

FloatArray = npt.NDArray[np.float32]
DAY_MS = 86_400_000
_MS = pa.timestamp("ms", tz="UTC")


class DatasetError(Exception):
    """There is nothing to learn from, or a table does not have the form it should; the text says what."""

    #: of the command that meets it: bad input
    exit_code = 2


@dataclass(frozen=True)
class Dataset:
    """Rows in order of event time. ``event_ms`` is int64 since 1970 UTC, ``card`` any array of identifiers."""

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
        """The rows of a mask or an index array."""
        return Dataset(self.matrix[rows], self.fraud[rows], self.event_ms[rows], self.card[rows])

    def between(self, start_ms: int, end_ms: int) -> Dataset:
        """Rows with event time in [start_ms, end_ms)."""
        return self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))

    def split(self, *shares: float) -> list[Dataset]:
        """Consecutive parts by event time, the last one takes the rest; ``split(0.7, 0.15)`` gives three."""
        edges = [int(len(self) * share) for share in np.cumsum(shares)]
        parts = np.split(np.arange(len(self)), edges)
        return [self.take(part) for part in parts]

    def fingerprint(self) -> str:
        """SHA-256 over features, labels and times: the same data gives the same digits."""
        digest = hashlib.sha256(CATALOGUE_HASH.encode())
        for array in (self.matrix, self.fraud, self.event_ms):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def amount_minor(self) -> FloatArray:
        """Amount per row, in minor units (n,)."""
        return self.matrix[:, INDEX["amount"]]


def join(parts: list[Dataset]) -> Dataset:
    """Several data sets as one, in order of event time.

    Raises:
        DatasetError: there is no part at all.
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
    """Features of every row by ``compute`` (``features.replay.replay``), then only the rows whose label was known.

    Args:
        table: a history table, rows in order of arrival.
        as_of_ms: the cut-off; a label counts if ``label_time`` is at or before it. None: every label there is.

    Raises:
        DatasetError: the features do not fit the table, or no label was known.
    """
    matrix = compute(table)
    if matrix.shape != (table.num_rows, WIDTH):
        raise DatasetError(
            f"features are {matrix.shape}, the table has {table.num_rows} rows and the catalogue {WIDTH}"
        )
    return _labelled(
        matrix, table["label"], table["label_time"], table["event_time"], table["card_id"], as_of_ms
    )


def save_seed(table: pa.Table, matrix: FloatArray, folder: Path) -> Path:
    """Keep the first model's data set, so that later trainings can build on it: one Parquet file, replaced whole."""
    columns = {
        "card_id": table["card_id"], "event_timestamp": pc.cast(table["event_time"], _MS),
        "label": pc.cast(table["label"], pa.string()), "label_time": pc.cast(table["label_time"], _MS),
        **{name: pa.array(matrix[:, index]) for index, name in enumerate(NAMES)},
    }  # fmt: skip
    known = pc.and_(pc.is_valid(columns["label"]), pc.invert(pc.is_nan(columns["amount"])))
    seed = pa.table(columns).filter(known).replace_schema_metadata({"catalogue": CATALOGUE_HASH})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "seed.parquet"
    tmp = path.with_suffix(".tmp")
    pq.write_table(seed, tmp, compression="zstd")
    tmp.replace(path)
    return path


def load_seed(folder: Path, as_of_ms: int | None = None) -> Dataset | None:
    """The saved seed; None where there is none or it was made with another catalogue."""
    path = folder / "seed.parquet"
    if not path.exists():
        return None
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(b"catalogue", b"").decode() != CATALOGUE_HASH:
        return None
    return _labelled(
        _matrix(table),
        table["label"],
        table["label_time"],
        table["event_timestamp"],
        table["card_id"],
        as_of_ms,
    )


def from_archive(
    archive: Path,
    *,
    from_ms: int = 0,
    to_ms: int = 2**53,
    as_of_ms: int | None = None,
    newest: int = 2_000_000,
) -> Dataset | None:
    """Served features joined with their outcomes on ``transaction_id``; None when nothing has matured yet.

    Args:
        archive: ``features/date=*/*.parquet`` and ``outcomes/date=*/*.parquet`` below it.
        from_ms, to_ms: event times in [from_ms, to_ms).
        newest: a bound on rows; the newest ones stay.
    """
    if not all(any((archive / name).glob("date=*/*.parquet")) for name in ("features", "outcomes")):
        return None
    window = (ds.field("event_timestamp") >= _instant(from_ms)) & (
        ds.field("event_timestamp") < _instant(to_ms)
    )
    outcomes = _dataset(archive / "outcomes").to_table(["transaction_id", "label", "label_time"])
    if not outcomes.num_rows:
        return None
    features = _dataset(archive / "features").to_table(
        ["transaction_id", "card_id", "event_timestamp", *NAMES], filter=window
    )
    # at-least-once archives may repeat a row; the newest label of a transaction counts
    outcomes = outcomes.sort_by("label_time")
    rows = _last_index(outcomes["transaction_id"])
    joined = _first_rows(features).join(outcomes.take(rows), "transaction_id", join_type="inner")
    if not joined.num_rows:
        return None
    joined = joined.sort_by("event_timestamp")
    joined = joined.slice(max(0, joined.num_rows - newest))
    try:
        return _labelled(
            _matrix(joined),
            joined["label"],
            joined["label_time"],
            joined["event_timestamp"],
            joined["card_id"],
            as_of_ms,
        )
    except DatasetError:
        return None


def _labelled(
    matrix: FloatArray, label: Any, label_time: Any, event_time: Any, card: Any, as_of_ms: int | None
) -> Dataset:
    text = pc.cast(label, pa.string())
    # a row without an amount is a repeated transaction, which the engine left out
    known = np.asarray(pc.is_valid(text)) & ~np.isnan(matrix[:, INDEX["amount"]])
    if as_of_ms is not None:
        known = known & (_milliseconds(label_time) <= as_of_ms) & np.asarray(pc.is_valid(label_time))
    if not known.any():
        raise DatasetError(
            "no label was known at the cut-off: labels arrive after their transactions, wait for them"
        )
    event_ms = _milliseconds(event_time)[known]
    order = np.argsort(event_ms, kind="stable")
    fraud = np.asarray(pc.fill_null(pc.equal(text, "fraud"), False))[known]
    cards = np.asarray(card.to_pandas())[known]
    return Dataset(
        np.ascontiguousarray(matrix[known][order], dtype=np.float32),
        fraud[order],
        event_ms[order],
        cards[order],
    )


def _dataset(folder: Path) -> Any:
    # files are named one by one: a writer's temporary file beside them is not data
    return ds.dataset([str(path) for path in sorted(folder.glob("date=*/*.parquet"))], format="parquet")


def _matrix(table: pa.Table) -> FloatArray:
    out = np.empty((table.num_rows, WIDTH), np.float32)
    for index, name in enumerate(NAMES):
        out[:, index] = table[name].to_numpy()
    return out


def _milliseconds(column: Any) -> npt.NDArray[np.int64]:
    """Milliseconds since 1970; absent ones far in the future, so that they are never known."""
    numbers = pc.cast(pc.cast(column, _MS, safe=False), pa.int64())
    return np.asarray(pc.fill_null(numbers, 2**62)).astype(np.int64)


def _instant(milliseconds: int) -> Any:
    return pa.scalar(milliseconds, pa.int64()).cast(_MS)


def _last_index(column: Any) -> Any:
    rows = pa.table({"key": column, "row": pa.array(np.arange(len(column)))})
    return rows.group_by("key").aggregate([("row", "max")])["row_max"]


def _first_rows(table: pa.Table) -> pa.Table:
    rows = pa.table({"key": table["transaction_id"], "row": pa.array(np.arange(table.num_rows))})
    first = rows.group_by("key").aggregate([("row", "min")])["row_min"]
    return table if len(first) == table.num_rows else table.take(first)
