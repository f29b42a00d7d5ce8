"""Small files of other people's kinds, and what a mapping makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping import ReplayFile, Report, load_history, load_mapping, parse_mapping

KEY = b"k" * 32
#: what a mapping has for the fields that a test does not look at
PLAIN = {
    "transaction_id": '{ row = true, template = "t{}" }',
    "event_time": '{ constant = "2026-01-01T00:00:00Z" }',
    "card_id": '{ constant = "c" }',
    "merchant_id": '{ constant = "m" }',
    "amount_minor": "{ constant = 1 }",
    "currency": '{ constant = "EUR" }',
}


def mapping_text(fields: str, top: str = "", tables: str = "") -> str:
    """A whole mapping: ``fields`` has a line for each field that matters, ``top`` comes before and ``tables`` behind."""
    given = {line.split("=")[0].strip() for line in fields.splitlines()}
    rest = [f"{name} = {rule}" for name, rule in PLAIN.items() if name not in given]
    return "\n".join([top, "[fields]", *rest, fields, tables])


def write_csv(folder: Path, *lines: str, name: str = "file.csv", encoding: str = "utf-8") -> Path:
    """A text file of these lines."""
    path = folder / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def rows_of(path: Path, text: str) -> list[dict[str, Any]]:
    """The transactions of a file, without the rows that are none."""
    rows: list[dict[str, Any]] = load_history(path, parse_mapping(text.encode(), "test"), KEY).to_pylist()
    return rows


def report_of(path: Path, text: str) -> Report:
    """The report on a file."""
    found: list[Report] = []
    load_history(path, parse_mapping(text.encode(), "test"), KEY, watch=found.append)
    return found[0]


def replayed(path: Path, mapping: str) -> list[bytes]:
    """The records that a replay sends; ``mapping``: TOML text, or the name of a built-in one."""
    rules = parse_mapping(mapping.encode(), "test") if "\n" in mapping else load_mapping(mapping)
    return [value for records in ReplayFile(path, rules, KEY).transactions(7) for value in records.values]


def parsed(path: Path, mapping: str) -> list[Any]:
    """The transactions that the processor sees of a replay."""
    return [parse_transaction(value) for value in replayed(path, mapping)]
