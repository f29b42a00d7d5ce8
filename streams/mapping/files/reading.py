"""Open a file of any kind that is known, for its wanted columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError
from streams.mapping.files.batches import MAX_CELL, RawBatch, RawFile
from streams.mapping.files.csv_file import open_csv
from streams.mapping.files.parquet_file import is_parquet, open_parquet

_PARQUET_NAMES = (".parquet", ".pq", ".parq")


def open_file(path: Path, rule: FileRule, wanted: Sequence[str], limit: int | None = None) -> RawFile:
    """A Parquet or CSV file, told apart by its content.

    Raises:
        MappingError: it cannot be read or lacks a column; also while its batches are read.
    """
    with readable(path):
        kind = "Parquet" if is_parquet(path) else "CSV"
        if kind == "CSV" and path.suffix.lower() in _PARQUET_NAMES:
            raise MappingError(f"{path} cannot be read as Parquet: it does not begin like such a file")
        opened = (
            open_parquet(path, wanted, limit) if kind == "Parquet" else open_csv(path, rule, wanted, limit)
        )
    return RawFile(path, opened.described, opened.header, _guarded(path, opened.batches, rule.null))


def _guarded(path: Path, batches: Iterator[RawBatch], null: list[str]) -> Iterator[RawBatch]:
    texts = pa.array(null, pa.string())
    with readable(path):
        for batch in batches:
            columns = {name: _tidy(column, texts) for name, column in batch.columns.items()}
            yield RawBatch(columns, batch.numbers, batch.broken)


def _tidy(column: pa.Array, null: pa.Array) -> pa.Array:
    """Text that is not too long, without the texts that mean "no value"."""
    if not pa.types.is_string(column.type):
        return column
    if (pc.max(pc.binary_length(column)).as_py() or 0) > MAX_CELL:
        column = pc.utf8_slice_codeunits(column, 0, MAX_CELL)
    return pc.if_else(pc.is_in(pc.utf8_trim_whitespace(column), null), None, column) if len(null) else column


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever a reader raises on a damaged file is said of the file."""
    try:
        yield
    except UnicodeError as error:
        raise MappingError(
            f'{path} is not text in the encoding that was taken ({error}): say it under [file], such as encoding = "latin-1"'
        ) from None
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise MappingError(f"{path} cannot be read: {_plainly(str(error))}") from None


def _plainly(text: str) -> str:
    if "straddling" in text:
        return "a row is longer than 8 MB: a quote that is never closed?"
    if "invalid UTF8" in text:
        return f'{text}: say its encoding under [file], such as encoding = "latin-1"'
    return text.strip().split("\n")[0][:500] or "the reader says nothing"
