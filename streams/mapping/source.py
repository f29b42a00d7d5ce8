"""Read a file through its mapping: transactions and labels in replay order, the rows that are none, and a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.conversion import Piece, convert_batch
from streams.mapping.definition import Mapping
from streams.mapping.errors import MappingError, NoRowFits
from streams.mapping.fields.converted import Mask
from streams.mapping.fields.labels import (
    ANY,
    FRAUD,
    UNLABELLED,
    canonical,
    fraud_values,
    honest_values,
    kind_of,
)
from streams.mapping.fields.numbers import Notation, read_numbers
from streams.mapping.files.batches import RawBatch
from streams.mapping.files.reading import open_file
from streams.mapping.report import Report, short

#: most bytes of converted rows that are held, and so a bound of what a small file can unpack to
MAX_TABLE_BYTES = 1_536 * 2**20


@dataclass(frozen=True)
class Source:
    """``table``: fields and label columns in replay order, and ``row``, the number in the file. ``unfit``: rows that are no
    transactions; ``refused``: these as they are sent, by their number."""

    table: pa.Table
    unfit: Mask
    refused: dict[int, bytes]
    report: Report


def read_source(
    path: Path, mapping: Mapping, key: bytes | None, limit: int | None = None, refused_too: bool = True
) -> Source:
    """Read and convert a Parquet or CSV file.

    Args:
        refused_too: whether the rows that are no transactions are kept as they are sent.

    Raises:
        MappingError: the file cannot be read, lacks a column, needs a key, is too large, or no row has the fraud value.
        NoRowFits: no row is a transaction.
    """
    if mapping.tokenises and key is None:
        raise MappingError("this mapping tokenises card numbers, for which there is no key")
    # the first rows in order can only be known of all
    first = limit if mapping.order_by is None else None
    file = open_file(path, mapping.file, mapping.columns, first)
    report = Report(str(path), file.described, _ignored(file.header, mapping))
    pieces = list(_pieces(file.batches, mapping, key, report, refused_too))
    if not pieces:
        raise NoRowFits(f"{path} has no rows")
    whole = _in_order(pieces, mapping, limit)
    unfit = np.array(whole["unfit"].combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
    table = whole.select([name for name in whole.column_names if name not in ("unfit", "order")])
    fit = table.filter(pa.array(~unfit)) if unfit.any() else table
    report.count(table, fit)
    if not report.fit:
        what = (
            f"{report.rows:,} rows" if report.rows else f"{sum(report.skipped.values()):,} rows, all left out"
        )
        raise NoRowFits("\n  ".join([f"{path}: no row is a transaction ({what})", *report.reasons_lines()]))
    _check_labels(mapping, report, complete=limit is None)
    report.constants = _constants(mapping)
    refused = {number: value for piece in pieces for number, value in piece.refused.items()}
    return Source(table, unfit, refused, report)


def _pieces(
    batches: Iterator[RawBatch], mapping: Mapping, key: bytes | None, report: Report, refused_too: bool
) -> Iterator[Piece]:
    held = rows = 0
    for raw in batches:
        if not len(raw.numbers) and not raw.broken:
            continue
        piece = convert_batch(raw, mapping, key, report, refused_too)
        held += piece.table.nbytes + sum(map(len, piece.refused.values()))
        rows += piece.table.num_rows
        if held > MAX_TABLE_BYTES:
            raise MappingError(
                f"{report.path}: its first {rows:,} rows take more than {MAX_TABLE_BYTES // 2**20:,} MB: split the file"
                + ("" if mapping.order_by else ", or read its beginning with --limit")
            )
        yield piece


def _in_order(pieces: list[Piece], mapping: Mapping, limit: int | None) -> pa.Table:
    whole = pa.concat_tables([piece.table for piece in pieces], promote_options="permissive")
    if mapping.order_by is not None:
        column = whole["order"]
        if pa.types.is_string(column.type):
            numbers = read_numbers(column.combine_chunks(), Notation(mapping.file.decimal, ""))
            if not numbers.unread.any() and column.null_count == 0:
                column = pa.chunked_array([pa.array(numbers.values)])
        keys = pa.table({"order": column, "row": whole["row"]})
        whole = whole.take(pc.sort_indices(keys, sort_keys=[("order", "ascending"), ("row", "ascending")]))
    return (whole if limit is None else whole.slice(0, limit)).combine_chunks()


def _ignored(header: list[str], mapping: Mapping) -> list[str]:
    read = {name.rsplit("#", 1)[0] for name in mapping.columns} | set(mapping.columns)
    return [name for name in header if name not in read and name.strip() not in {*read, ""}]


def _constants(mapping: Mapping) -> list[str]:
    """What the mapping says itself, though rows differ in it: a mapping that was suggested may have such rules, to be filled in."""
    rules = {name: mapping.rule(name) for name in ("event_time", "card_id", "amount_minor")}
    same = [
        f"{name} = {rule.constant!r}" for name, rule in rules.items() if rule and rule.constant is not None
    ]
    card = rules["card_id"]
    return [*same, *(["card_id of the row's own"] if card and card.row else [])]


def _check_labels(mapping: Mapping, report: Report, complete: bool) -> None:
    """A fraud value that nobody has is a mistake; other values than fraud and honest are said."""
    rule = mapping.label
    if rule is None:
        return
    fraud, honest = fraud_values(rule), honest_values(rule)
    kinds = {value: kind_of(value, fraud, honest) for value in report.values}
    if FRAUD not in kinds.values():
        shown = _shown(dict(report.values)) or "all empty"
        text = f"no row has fraud = {rule.fraud!r} in column {rule.column}; its values are {shown}"
        if complete:
            raise MappingError(f"{report.path}: {text}. Without a [label] the file is read without labels")
        report.remarks.append(text)
    else:
        there = {canonical(value) for value in report.values}
        report.remarks += [f"no row has the fraud value {value}" for value in sorted(fraud - there - {ANY})]
    unknown = {v: n for v, n in report.values.items() if kinds[v] == UNLABELLED}
    if unknown:
        report.remarks.append(
            f"{sum(unknown.values()):,} rows have no label: {_shown(unknown)} in column {rule.column} is neither fraud nor honest"
        )


def _shown(values: dict[str, int], most: int = 10) -> str:
    """The commonest values of a label's column with their rows."""
    commonest = sorted(values, key=lambda value: -values[value])
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(f"{short(value)} ({values[value]:,})" for value in commonest[:most]) + more
