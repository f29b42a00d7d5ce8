"""The entries of a list in a CSV file, as spreadsheets write them: separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io

import msgspec

from models.policy.lists import Entry
from models.policy.reading import read_struct

_COLUMNS = tuple(field.name for field in msgspec.structs.fields(Entry))
_SEPARATORS = ",;\t"


def csv_entries(place: str, file: str, text: str, errors: list[str]) -> list[Entry]:
    """The entries that can be read; every error is added to ``errors``. ``place``: the list's name, to begin errors with."""
    lines = text.splitlines(keepends=True)
    skipped = 1 if lines and lines[0].lower().startswith("sep=") else 0
    header = lines[skipped] if len(lines) > skipped else ""
    separator = max(_SEPARATORS, key=header.count)
    rows = csv.reader(io.StringIO("".join(lines[skipped:])), delimiter=separator, strict=True)
    out: list[Entry] = []
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if (wrong := _wrong_header(names)) is not None:
            errors.append(f"{place}: {file}{wrong}")
            return []
        for cells in rows:
            at = f"{place}: {file}, line {rows.line_num + skipped}"
            if not any(cells):
                continue
            if len(cells) > len(names):
                errors.append(f"{at} has {len(cells)} values for {len(names)} columns: put a value with {separator!r} in double quotes")  # fmt: skip
                continue
            given = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            entry = read_struct(given, Entry, at, errors)
            out += [entry] if entry is not None else []
    except csv.Error as error:
        errors.append(f"{place}: {file}, line {rows.line_num + skipped} is not CSV: {error}")
    return out


def _wrong_header(names: list[str]) -> str | None:
    unknown = [name for name in names if name not in _COLUMNS]
    twice = {name for name in names if names.count(name) > 1}
    if "value" in names and not unknown and not twice:
        return None
    found = f"its first line has {', '.join(map(repr, names))}" if any(names) else "it is empty"
    return (
        f" must begin with the names of its columns, value and optionally {', '.join(_COLUMNS[1:])}; {found}"
    )
