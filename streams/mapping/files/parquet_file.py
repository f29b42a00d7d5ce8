"""Parquet files, a row group at a time and never more of it than its own words allow: a small file may unpack to terabytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streams.mapping.errors import MappingError
from streams.mapping.files.batches import MAX_CELL, RawBatch, RawFile, find_columns

BATCH_ROWS = 65_536
#: most bytes of the columns that are read, unpacked, in one row group
MAX_GROUP_BYTES = 512 * 2**20


def open_parquet(path: Path, wanted: Sequence[str], limit: int | None) -> RawFile:
    """A Parquet file; with a limit, only its first rows.

    Raises:
        MappingError: a column is absent or of a type that no field has; also while its batches are read.
    """
    plain = pq.ParquetFile(path)
    schema = plain.schema_arrow
    places = find_columns(path, wanted, schema.names)
    for name, place in places.items():
        _check_type(path, name, schema.field(place).type)
    # dictionaries keep a text that is repeated a million times small
    texts = [schema.field(p).name for p in places.values() if _is_text(schema.field(p).type)]
    file = pq.ParquetFile(path, read_dictionary=texts)
    groups = file.metadata.num_row_groups
    described = (
        f"Parquet ({file.metadata.num_rows:,} rows in {groups} row groups, {len(schema.names)} columns)"
    )
    return RawFile(path, described, list(schema.names), _batches(path, file, places, limit))


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _batches(
    path: Path, file: pq.ParquetFile, places: dict[str, int], limit: int | None
) -> Iterator[RawBatch]:
    names = file.schema_arrow.names
    # a file may name a column twice; a reader without columns would say no number of rows
    read = list(dict.fromkeys(names[place] for place in places.values())) or names[:1]
    done = 0
    for group in range(file.metadata.num_row_groups):
        _check_size(path, file, group, set(read))
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=read):
            if limit is not None:
                batch = batch.slice(0, limit - done)
            columns = {name: _plain(path, name, _pick(batch, names, place)) for name, place in places.items()}
            yield RawBatch(columns, np.arange(done + 1, done + 1 + batch.num_rows))
            done += batch.num_rows
            if done == limit:
                return


def _pick(batch: pa.RecordBatch, names: list[str], place: int) -> pa.Array:
    """The column at a place of the file; of several with its name the right one."""
    same = [i for i, name in enumerate(batch.schema.names) if name == names[place]]
    return batch.column(same[names[:place].count(names[place])])


def _check_size(path: Path, file: pq.ParquetFile, group: int, read: set[str]) -> None:
    meta = file.metadata.row_group(group)
    # the sizes of single columns are asked for only where they matter: asked of damaged files, Arrow ends the process
    if meta.total_byte_size <= MAX_GROUP_BYTES:
        return
    columns = [meta.column(i) for i in range(meta.num_columns)]
    size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] in read)
    if size > MAX_GROUP_BYTES:
        raise MappingError(
            f"{path}: row group {group} unpacks to {size / 2**20:,.0f} MB, more than {MAX_GROUP_BYTES // 2**20}: "
            "write it again with smaller row groups"
        )


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))  # fmt: skip


def is_simple(kind: pa.DataType) -> bool:
    """Whether a field can have this type: text, a number or a time."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (
        _is_text, pa.types.is_string_view, pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating,
        pa.types.is_decimal, pa.types.is_temporal,
    )  # fmt: skip
    return any(test(inner) for test in tests) and not pa.types.is_interval(inner)


def _check_type(path: Path, name: str, kind: pa.DataType) -> None:
    if not is_simple(kind):
        raise MappingError(
            f"column {name} of {path} is a {kind}: a field needs text, a number or a time, so write that part as a column of its own"
        )


def _plain(path: Path, name: str, column: pa.Array) -> pa.Array:
    """The column as one of few types: string, numbers, decimals, times; the empty text is null."""
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    if pa.types.is_dictionary(column.type):
        return _plain(path, name, column.dictionary).take(column.indices)
    if not (_is_text(column.type) or pa.types.is_string_view(column.type)):
        return column
    try:
        # a damaged file says text and holds other bytes
        column.validate(full=True)
        # cut first: a whole batch of long texts may be more than one array can hold
        text = column.cast(pa.large_string())
        if (pc.max(pc.binary_length(text)).as_py() or 0) > MAX_CELL:
            text = pc.utf8_slice_codeunits(text, 0, MAX_CELL)
        return pc.if_else(pc.equal(text, ""), None, text).cast(pa.string())
    except pa.ArrowInvalid:
        raise MappingError(f"column {name} of {path} holds bytes that are no UTF-8 text") from None
