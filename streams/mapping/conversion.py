"""A batch of a file's rows becomes a batch of transactions and labels. The contract itself says which rows are transactions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import PREFIX
from features.transaction import Transaction, transaction_columns
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import mask_card_numbers
from streams.contracts.transaction_parsing import parse_together, parse_transaction
from streams.mapping.definition import REQUIRED, FieldRule, Mapping
from streams.mapping.encoding import encode_transactions
from streams.mapping.fields.amounts import convert_amount
from streams.mapping.fields.attributes import attributes_of, convert_attribute, texts_of, with_attributes_of
from streams.mapping.fields.converted import Converted, Finding, Mask
from streams.mapping.fields.labels import convert_labels, matches
from streams.mapping.fields.moments import convert_time
from streams.mapping.fields.numbers import convert_degrees
from streams.mapping.fields.text import as_text, convert_text
from streams.mapping.files.batches import RawBatch
from streams.mapping.report import Report, Seen, short

#: so many rows are parsed in one call
_TOGETHER = 1_000


@dataclass(frozen=True)
class Piece:
    """``table``: fields and label columns, ``row`` (its number in the file) and ``order``, if the mapping sorts. ``refused``:
    rows that are no transactions, by their number, as they are sent; empty where nobody sends them."""

    table: pa.Table
    refused: dict[int, bytes]


def convert_batch(
    raw: RawBatch, mapping: Mapping, key: bytes | None, report: Report, refused_too: bool
) -> Piece:
    """Convert a batch; counts and reasons are added to the report. ``refused_too``: whether refused rows will be sent."""
    converted = _fields(raw, mapping, key)
    keep = _kept(raw, converted, mapping, report)
    problems = _Problems(raw, mapping, keep)
    names = mapping.names
    for name in names:
        for finding in converted[name].problems:
            problems.add(name, finding)
    for name in REQUIRED:
        problems.add(
            name, Finding("is empty", np.asarray(converted[name].values.is_null()) & ~problems.known)
        )
    table = pa.table({name: converted[name].values for name in names})
    table = _by_contract(table, mapping, problems)
    for name in names:
        for note in converted[name].notes:
            _count(report.notes, f"{name} {note.text}", note.rows & keep, problems.shown(name))
    problems.tell(report)
    refused = problems.as_sent(table) if refused_too else {}
    table = table.append_column("row", pa.array(raw.numbers))
    for column, values in _labels(raw, table, mapping, keep, report.values).items():
        table = table.append_column(column, values)
    if mapping.order_by is not None:
        order = table["event_time"] if mapping.by_time else raw.columns[mapping.order_by]
        table = table.append_column("order", order)
    table = table.append_column("unfit", pa.array(problems.known))
    return _with_broken(Piece(table.filter(pa.array(keep)), refused), raw, report)


def _fields(raw: RawBatch, mapping: Mapping, key: bytes | None) -> dict[str, Converted]:
    count = len(raw.numbers)
    out: dict[str, Converted] = {}
    for name in ("currency", *(name for name in mapping.names if name != "currency")):
        rule = mapping.rule(name)
        if rule is None:
            absent = pa.float64() if name in ("latitude", "longitude") else pa.string()
            default = pa.repeat(pa.scalar("default"), count)
            out[name] = Converted(default if name == "tenant" else pa.nulls(count, absent))
            continue
        cells = [raw.columns[column] for column in rule.columns] or [_given(rule, raw)]
        if name == "event_time":
            zone = mapping.zone
            zones = None if isinstance(zone, str) else raw.columns[zone.column]
            out[name] = convert_time(rule, cells, zone, mapping.file, zones)
        elif name == "amount_minor":
            out[name] = convert_amount(rule, cells[0], out["currency"].values, mapping.file)
        elif name.startswith(PREFIX):
            out[name] = convert_attribute(name, rule, cells, mapping.file, key)
        elif name in ("latitude", "longitude"):
            out[name] = convert_degrees(rule, cells[0], mapping.file)
        else:
            out[name] = convert_text(name, rule, cells, key)
    return out


def _given(rule: FieldRule, raw: RawBatch) -> pa.Array:
    if rule.row:
        return pa.array(raw.numbers)
    constant = rule.constant
    # a whole number of TOML may be larger than any column's
    large = isinstance(constant, int) and abs(constant) >= 2**63
    return pa.repeat(pa.scalar(str(constant) if large else constant), len(raw.numbers))


def _kept(raw: RawBatch, converted: dict[str, Converted], mapping: Mapping, report: Report) -> Mask:
    """Rows that the mapping does not leave out."""
    keep = np.ones(len(raw.numbers), dtype=bool)
    for rule in mapping.skip:
        out = matches(rule, raw.columns[rule.column]) & keep
        report.skipped[f"with {rule.column} {', '.join(map(str, rule.values))}"] += int(out.sum())
        keep &= ~out
    refunds = converted["amount_minor"].skip
    if refunds is not None:
        report.skipped["refunds"] += int((refunds & keep).sum())
        keep &= ~refunds
    return keep


def _by_contract(table: pa.Table, mapping: Mapping, problems: _Problems) -> pa.Table:
    """Parse the rows that may be transactions as the processor will, and take over what it makes of them."""
    rows = np.flatnonzero(problems.open())
    if not len(rows):
        return table
    values = encode_transactions(table.take(pa.array(rows)))
    own = attributes_of(mapping)
    parsed: list[Transaction] = []
    accepted: list[int] = []
    for begin in range(0, len(rows), _TOGETHER):
        some = values[begin : begin + _TOGETHER]
        together = parse_together(some)
        if together is not None and not own.declared:
            parsed += together.transactions
            accepted += range(begin, begin + len(some))
            continue
        for place, value in enumerate(some, begin):
            try:
                tx = parse_transaction(value) if together is None else together.transactions[place - begin]
                parsed.append(with_attributes_of(tx, own))
                accepted.append(place)
            except InvalidEvent as error:
                problems.refuse(int(rows[place]), error)
    places = np.full(table.num_rows, -1)
    places[rows[accepted]] = np.arange(len(accepted))
    columns = transaction_columns(parsed)
    for name in mapping.names:
        if pa.types.is_string(table[name].type) and table[name].null_count < table.num_rows:
            texts = texts_of(parsed, name) if name.startswith(PREFIX) else getattr(columns, name)
            made = pa.array(texts, pa.string()).take(pa.array(places, mask=places < 0))
            whole = pc.if_else(pa.array(places >= 0), made, table[name].combine_chunks())
            table = table.set_column(table.column_names.index(name), name, whole)
    return table


def _labels(
    raw: RawBatch, table: pa.Table, mapping: Mapping, keep: Mask, seen: Counter[str]
) -> dict[str, pa.Array]:
    column = None if mapping.label is None else raw.columns[mapping.label.column]
    if column is not None and not keep.all():
        column = pc.if_else(pa.array(keep), column, None)
    return convert_labels(mapping.label, column, table["event_time"].combine_chunks(), seen)


def _with_broken(piece: Piece, raw: RawBatch, report: Report) -> Piece:
    """The same with the rows that are no rows, each at its place."""
    if not raw.broken:
        return piece
    for number, broken in raw.broken.items():
        _add(report.reasons, broken.reason, 1, number, short(broken.text))
        piece.refused[number] = mask_card_numbers(msgspec.json.encode(broken.text))
    numbers = pa.array(list(raw.broken), pa.int64())
    rest = {
        field.name: pa.nulls(len(numbers), field.type)
        for field in piece.table.schema
        if field.name not in ("row", "unfit")
    }
    rest |= {"row": numbers, "unfit": pa.repeat(pa.scalar(True), len(numbers))}
    odd = pa.table(rest).select(piece.table.column_names)
    return Piece(pa.concat_tables([piece.table, odd]).sort_by("row"), piece.refused)


class _Problems:
    """Why rows of a batch are no transactions: the first reason of each row counts."""

    def __init__(self, raw: RawBatch, mapping: Mapping, keep: Mask) -> None:
        self._raw, self._mapping, self._keep = raw, mapping, keep
        #: rows with a reason
        self.known: Mask = np.zeros(len(raw.numbers), dtype=bool)
        self._found: list[tuple[str, Finding]] = []
        self._reason: dict[int, tuple[str, str]] = {}

    def add(self, field: str, finding: Finding) -> None:
        rows = finding.rows & ~self.known & self._keep
        if rows.any():
            self.known |= rows
            self._found.append((field, Finding(finding.text, rows)))
            self._reason.update(dict.fromkeys(np.flatnonzero(rows).tolist(), (field, finding.text)))

    def refuse(self, row: int, error: InvalidEvent) -> None:
        """A row that the contract refuses."""
        text = str(error).removeprefix(f"{error.field} ")
        if error.reason == "card_number":
            text += ": tokenise = true in its rule makes one"
        self.add(error.field or "the row", Finding(text, np.arange(len(self.known)) == row))

    def open(self) -> Mask:
        return self._keep & ~self.known

    def shown(self, field: str) -> _Shown:
        return _Shown(self._raw, self._mapping, field)

    def tell(self, report: Report) -> None:
        for field, finding in self._found:
            _count(report.reasons, f"{field} {finding.text}", finding.rows, self.shown(field))

    def as_sent(self, table: pa.Table) -> dict[int, bytes]:
        """The refused rows as their producer wrote them, by number: converted values where possible, else the file's own text."""
        rows = [int(row) for row in np.flatnonzero(self.known)]
        if not rows:
            return {}
        some = pa.array(rows)
        mapped = [name for name in self._mapping.names if self._mapping.rule(name) is not None]
        cells = {name: table[name].take(some).to_pylist() for name in mapped}
        texts = {name: self.shown(name).texts(some) for name in mapped}
        numbers = self._raw.numbers[rows].tolist()
        out: dict[int, bytes] = {}
        for place, (row, number) in enumerate(zip(rows, numbers, strict=True)):
            culprit, reason = self._reason[row]
            value: dict[str, Any] = {}
            attributes: dict[str, Any] = {}
            for name in mapped:
                cell = cells[name][place] if name != culprit else None
                if isinstance(cell, datetime):
                    cell = cell.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                cell = texts[name][place] or None if cell is None else cell
                if cell is not None:
                    (attributes if name.startswith(PREFIX) else value)[name.removeprefix(PREFIX)] = cell
            if attributes:
                value["attributes"] = attributes
            out[number] = _refused(value, culprit, reason)
        return out


def _refused(value: dict[str, Any], culprit: str, reason: str) -> bytes:
    """The row as JSON that the contract refuses, card numbers masked."""
    sent = mask_card_numbers(msgspec.json.encode(value))
    try:
        parse_transaction(sent)
    except InvalidEvent:
        return sent
    if culprit.startswith(PREFIX):
        # whatever the stack declares: attributes are an object
        value["attributes"] = f"{culprit} {reason}: {value.get('attributes')}"
        return mask_card_numbers(msgspec.json.encode(value))
    # without its card number, or read in another way, it would pass
    value[culprit] = {"refused": reason, "value": value.get(culprit)}
    return mask_card_numbers(msgspec.json.encode(value))


class _Shown:
    """What stands in the file for a field, as text."""

    def __init__(self, raw: RawBatch, mapping: Mapping, field: str) -> None:
        rule = mapping.rule(field)
        names = rule.columns if rule else []
        if field == "event_time" and not isinstance(mapping.zone, str):
            names = [*names, mapping.zone.column]
        self._columns = [raw.columns[name] for name in names]
        self._constant = None if rule is None or rule.constant is None else str(rule.constant)
        self.numbers = raw.numbers

    def texts(self, rows: pa.Array) -> list[str]:
        """The text of some rows; cells of several columns with a blank between them."""
        cells = [as_text(column.take(rows)).to_pylist() for column in self._columns]
        if not cells:
            return [self._constant or ""] * len(rows)
        return [" ".join(cell for cell in row if cell is not None) for row in zip(*cells, strict=True)]

    def __call__(self, row: int) -> str:
        return self.texts(pa.array([row]))[0]


def _count(into: dict[str, Seen], text: str, rows: Mask, shown: _Shown) -> None:
    places = np.flatnonzero(rows)
    if len(places):
        first = int(places[0])
        _add(into, text, len(places), int(shown.numbers[first]), short(shown(first)))


def _add(into: dict[str, Seen], text: str, rows: int, row: int, value: str) -> None:
    if text in into:
        into[text].add(rows, row, value)
    else:
        into[text] = Seen(rows, row, value)
