"""CSV files, streamed in blocks. Every cell is read as text: identifiers keep leading zeros, amounts the digits written.

A quote that is never closed swallows rows without a word in most readers. Here the lines are counted afterwards, and where
they are more than the rows, each quote is checked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError
from streams.mapping.files.batches import MAX_CELL, Broken, RawBatch, RawFile, find_columns
from streams.mapping.files.dialect import Dialect, open_text, read_dialect

#: most bytes of one row
BLOCK = 8 * 2**20
#: so many rows with a wrong number of cells are a wrong separator, not mistakes
MAX_BROKEN = 100_000


def open_csv(path: Path, rule: FileRule, wanted: Sequence[str], limit: int | None) -> RawFile:
    """A CSV file; with a limit, only its first rows.

    Raises:
        MappingError: it cannot be read, or lacks a column; also while its batches are read.
    """
    dialect = read_dialect(path, rule, wanted)
    places = find_columns(path, wanted, dialect.header)
    return RawFile(path, str(dialect), dialect.header, _batches(path, dialect, places, limit))


def _batches(path: Path, dialect: Dialect, places: dict[str, int], limit: int | None) -> Iterator[RawBatch]:
    broken: dict[int, Broken] = {}
    done = 0
    with open_text(path, dialect.compression, dialect.encoding) as stream:
        for table in _stream(stream, dialect, places, broken):
            numbers, odd = _numbered(done, table.num_rows, broken)
            left = table.num_rows if limit is None else int(np.searchsorted(numbers, limit, side="right"))
            done = int(numbers[-1]) if len(numbers) else done
            columns = {name: table.column(str(place)).slice(0, left) for name, place in places.items()}
            yield RawBatch(
                columns, numbers[:left], {n: t for n, t in odd.items() if limit is None or n <= limit}
            )
            if limit is not None and done >= limit:
                _check_quotes(path, dialect, limit)
                return
    if broken:
        done = max(done, *broken)
        nothing = {name: pa.array([], pa.string()) for name in places}
        yield RawBatch(nothing, np.array([], dtype=np.int64), broken)
    if _lines(path, dialect) != done + dialect.has_header + dialect.lines_before:
        _check_quotes(path, dialect, None)


def _stream(
    stream: pa.NativeFile, dialect: Dialect, places: dict[str, int], broken: dict[int, Broken]
) -> Iterator[pa.RecordBatch]:
    def note(row: pyarrow.csv.InvalidRow) -> str:
        if len(broken) < MAX_BROKEN:
            broken[row.number - dialect.has_header - dialect.lines_before] = Broken(
                f"has {row.actual_columns} cells where the header has {row.expected_columns}",
                row.text[:MAX_CELL],
            )
            return "skip"
        return "error"

    names = [str(place) for place in range(len(dialect.header))]
    # a reader without columns would read all of them
    wanted = [str(place) for place in places.values()] or names[:1]
    yield from pyarrow.csv.open_csv(
        stream,
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=BLOCK, column_names=names,
            skip_rows_after_names=dialect.lines_before + int(dialect.has_header),
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=dialect.separator, quote_char=dialect.quote, double_quote=dialect.escape is None,
            escape_char=dialect.escape or False, newlines_in_values=True, invalid_row_handler=note
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(dict.fromkeys(wanted)), column_types=dict.fromkeys(wanted, pa.string()),
            null_values=[""], strings_can_be_null=True,
        ),
    )  # fmt: skip


def _numbered(done: int, rows: int, broken: dict[int, Broken]) -> tuple[np.ndarray, dict[int, Broken]]:
    """The numbers of the next good rows, and the broken ones before their last, which are taken out."""
    odd = np.array(sorted(broken), dtype=np.int64)
    numbers = np.setdiff1d(np.arange(done + 1, done + 1 + rows + len(odd)), odd)[:rows]
    if not rows:
        return numbers, {}
    return numbers, {int(n): broken.pop(int(n)) for n in odd if n < numbers[-1]}


def _lines(path: Path, dialect: Dialect) -> int:
    """Line ends of the file; the last line counts with or without one."""
    count, returns, last = 0, 0, b"\n"
    with open_text(path, dialect.compression, dialect.encoding) as stream:
        while block := stream.read(BLOCK):
            count += block.count(b"\n")
            returns += block.count(b"\r")
            last = block[-1:]
    return (count or returns) + (last not in (b"\n", b"\r"))


def _check_quotes(path: Path, dialect: Dialect, rows: int | None) -> None:
    with open_text(path, dialect.compression, dialect.encoding) as stream:
        text = io.TextIOWrapper(io.BufferedReader(_Raw(stream)), "utf-8", newline="")
        reader: Any = dialect.rows(text, strict=True)
        begun = 0
        try:
            for number, _row in enumerate(reader):
                begun = reader.line_num
                if rows is not None and number > rows:
                    return
        except csv.Error as error:
            raise MappingError(
                f"{path}: the row that begins in line {begun + 1} has a quote that is not closed, or text behind a closed one "
                f"({error}): what follows cannot be told apart"
            ) from None


class _Raw(io.RawIOBase):
    """Arrow's stream as Python's."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
