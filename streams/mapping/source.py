"""Read a file through its mapping: one column per field, and a mark on rows that are not valid transactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from streams.contracts.card_numbers import find_card_number
from streams.mapping import columns as convert
from streams.mapping.columns import Converted, Mask
from streams.mapping.definition import OPTIONAL, REQUIRED, FieldRule, Mapping, MappingError

#: at least 12 digits with single spaces or dashes between them: only such text can hold a card number
_MAYBE_CARD = r"[0-9]([ -]?[0-9]){11}"


@dataclass(frozen=True)
class Source:
    """``table``: fields and label columns, in replay order; ``unfit``: rows that are not valid transactions; ``raw``: the
    columns of the file that the mapping reads, same rows."""

    table: pa.Table
    unfit: Mask
    raw: pa.Table
    mapping: Mapping


def read_source(path: Path, mapping: Mapping, key: bytes | None, limit: int | None = None) -> Source:
    """Read and convert a Parquet or CSV file.

    Raises:
        MappingError: the file cannot be read, lacks a column, needs a key, or an identifier holds a card number.
    """
    if mapping.tokenises and key is None:
        raise MappingError("this mapping tokenises card numbers, for which there is no key")
    raw = _in_order(_read(path, mapping), mapping)
    if limit is not None:
        raw = raw.slice(0, limit)
    fields: dict[str, pa.Array] = {}
    unfit = np.zeros(raw.num_rows, dtype=bool)
    for name in REQUIRED + OPTIONAL:
        converted = _field(name, raw, mapping, key)
        fields[name] = converted.values
        unfit |= converted.unfit
        if name in REQUIRED:
            unfit |= converted.values.is_null().to_numpy(zero_copy_only=False)
    _refuse_card_numbers(fields, mapping)
    fields.update(_labels(raw, fields["event_time"], mapping))
    return Source(pa.table(fields), unfit, raw, mapping)


def unfit_rows(source: Source, rows: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Rows as their producer wrote them: converted values where possible, else the file's own value (NaN as null)."""
    names = [n for n in source.table.column_names if n in REQUIRED + OPTIONAL]
    for row in rows:
        out: dict[str, Any] = {}
        for name in names:
            value = source.table[name][row].as_py()
            rule = source.mapping.rule(name)
            if value is None and rule is not None and rule.columns:
                cells = [_plain(source.raw[column][row].as_py()) for column in rule.columns]
                value = cells[0] if len(cells) == 1 else None
            if name == "event_time" and hasattr(value, "isoformat"):
                value = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            if value is not None:
                out[name] = value
        yield out


def _plain(cell: Any) -> Any:
    if isinstance(cell, float) and not np.isfinite(cell):
        return None
    return cell if isinstance(cell, str | int | float | bool) or cell is None else str(cell)


def _read(path: Path, mapping: Mapping) -> pa.Table:
    wanted = mapping.columns
    try:
        if path.suffix.lower() in (".csv", ".txt"):
            with csv.open_csv(path) as opened:
                names = opened.schema.names
            _require(path, wanted, names)
            # every column is read as text: identifiers keep leading zeros, amounts keep the digits written
            options = csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=True,
            )
            return csv.read_csv(path, convert_options=options)
        parquet = pq.ParquetFile(path)
        _require(path, wanted, parquet.schema_arrow.names)
        return parquet.read(columns=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise MappingError(
            f"{path} cannot be read as {'CSV' if path.suffix == '.csv' else 'Parquet'}: {error}"
        ) from None


def _require(path: Path, wanted: list[str], names: list[str]) -> None:
    absent = [name for name in wanted if name not in names]
    if absent:
        raise MappingError(f"{path} has no column {', '.join(absent)}; it has {', '.join(names)}")


def _in_order(raw: pa.Table, mapping: Mapping) -> pa.Table:
    if mapping.order_by is None:
        return raw.combine_chunks()
    column = raw[mapping.order_by]
    if pa.types.is_string(column.type):
        numbers = convert._numbers(column.combine_chunks())
        if pc.all(pc.is_finite(numbers)).as_py() and numbers.null_count == 0:
            column = pa.chunked_array([numbers])
    order = pc.sort_indices(pa.table({"order": column}), sort_keys=[("order", "ascending")])
    return raw.take(order).combine_chunks()


def _field(name: str, raw: pa.Table, mapping: Mapping, key: bytes | None) -> Converted:
    rule, count = mapping.rule(name), raw.num_rows
    if rule is None:
        absent = pa.float64() if name in ("latitude", "longitude") else pa.string()
        values = pa.nulls(count, absent) if name != "tenant" else pa.repeat(pa.scalar("default"), count)
        return Converted(values, np.zeros(count, dtype=bool))
    cells = [_one(raw[column]) for column in rule.columns]
    if rule.constant is not None:
        constant = rule.constant if isinstance(rule.constant, str | int | float) else str(rule.constant)
        cells, rule = (
            [pa.repeat(pa.scalar(constant), count)],
            FieldRule(column="constant", exponent=rule.exponent),
        )
    if name == "event_time":
        return convert.convert_time(rule, cells[0], mapping.zone)
    if name == "amount_minor":
        return convert.convert_amount(rule, cells[0])
    if name in ("latitude", "longitude"):
        return convert.convert_degrees(cells[0], 90.0 if name == "latitude" else 180.0)
    return convert.check_text(name, convert.convert_text(rule, cells, key))


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined


def _refuse_card_numbers(fields: dict[str, pa.Array], mapping: Mapping) -> None:
    for name, values in fields.items():
        rule = mapping.rule(name)
        if not pa.types.is_string(values.type) or rule is None:
            continue
        suspects = values.filter(pc.fill_null(pc.match_substring_regex(values, _MAYBE_CARD), False))
        for text in pc.unique(suspects).to_pylist():
            if find_card_number(text):
                raise MappingError(
                    f"column {', '.join(rule.columns)} puts card numbers into {name}: add tokenise = true to its rule"
                )


def _labels(raw: pa.Table, event_time: pa.Array, mapping: Mapping) -> dict[str, pa.Array]:
    count, rule = raw.num_rows, mapping.label
    if rule is None:
        return {
            "label": pa.nulls(count, pa.string()),
            "label_time": pa.nulls(count, convert.TIMESTAMP),
            "label_source": pa.nulls(count, pa.string()),
        }
    text = pc.utf8_lower(convert.as_text(_one(raw[rule.column])))
    fraud = pc.equal(text, _fraud_text(rule.fraud))
    label = pc.if_else(fraud, "fraud", "legit" if rule.legit else pa.scalar(None, pa.string()))
    later = pc.add(event_time.cast(pa.int64()), round(rule.delay_days * 86_400_000)).cast(convert.TIMESTAMP)
    said = pc.is_valid(label)
    return {
        "label": label,
        "label_time": pc.if_else(said, later, None),
        "label_source": pc.if_else(said, rule.source, pa.scalar(None, pa.string())),
    }


def _fraud_text(value: str | int | float | bool) -> str:
    text = convert.as_text(pa.array([value]))[0].as_py()
    return str(text).lower()
