"""What a file turned out to hold: for the person who wrote the mapping, before anything is sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streams.contracts.text.card_numbers import mask_card_numbers

_SHOWN = 3
_VALUE_SHOWN = 60
_NAMES_SHOWN = 12


@dataclass
class Seen:
    """How many rows, and the first of them with what it holds."""

    rows: int
    row: int
    value: str

    def add(self, rows: int, row: int, value: str) -> None:
        """More rows of the same kind."""
        self.rows += rows
        if row < self.row:
            self.row, self.value = row, value


@dataclass
class Report:
    """Sums over a file. ``reasons``: why rows are refused; ``notes``: what was decided where the file leaves a choice;
    ``skipped``: rows that the mapping leaves out; ``constants``: what the mapping says of every row; ``values``: of the label's column, as written."""

    path: str
    read_as: str
    ignored: list[str]
    reasons: dict[str, Seen] = field(default_factory=dict)
    notes: dict[str, Seen] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    rows: int = 0
    fit: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    currencies: dict[str, int] = field(default_factory=dict)
    span_ms: tuple[int, int] | None = None

    def count(self, table: pa.Table, fit: pa.Table) -> None:
        """Sum up the rows that are sent, and those of them that are transactions."""
        self.rows, self.fit = table.num_rows, fit.num_rows
        said = Counter(fit["label"].to_pylist())
        self.labels = {name or "none": said[name] for name in ("fraud", "legit", None)}
        self.currencies = dict(Counter(fit["currency"].to_pylist()).most_common())
        if fit.num_rows:
            ends = pc.min_max(fit["event_time"].cast(pa.int64())).as_py()
            self.span_ms = (ends["min"], ends["max"])

    def reasons_lines(self) -> list[str]:
        """The commonest reasons with a row each."""
        worst = sorted(self.reasons.items(), key=lambda item: -item[1].rows)
        out = [_line(reason, seen) for reason, seen in worst[:_SHOWN]]
        rest = sum(seen.rows for _, seen in worst[_SHOWN:])
        return out + ([f"{rest:,} for {len(worst) - _SHOWN} other reasons"] if rest else [])

    def to_json(self) -> dict[str, Any]:
        """The report as commands print it with ``--json``."""
        return {
            "path": self.path, "read_as": self.read_as, "rows": self.rows, "fit": self.fit, "refused": self.rows - self.fit,
            "skipped": dict(self.skipped),
            "reasons": [
                {"reason": reason, "rows": seen.rows, "row": seen.row, "value": seen.value}
                for reason, seen in sorted(self.reasons.items(), key=lambda item: -item[1].rows)
            ],
            "labels": self.labels, "label_values": {short(value)[1:-1]: count for value, count in self.values.most_common(100)},
            "event_time": None if self.span_ms is None else {"first": _time(self.span_ms[0]), "last": _time(self.span_ms[1])},
            "currencies": self.currencies, "ignored_columns": self.ignored, "notes": self._notes(),
            "constants": self.constants,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The report as text."""
        out = [
            f"file           {self.path}: {self.read_as}",
            f"rows           {self.rows:>12,}, of which {self.fit:,} are transactions",
        ]
        out += [f"refused        {line}" for line in self.reasons_lines()]
        out += [f"left out       {count:>12,} {what}" for what, count in self.skipped.items()]
        if self.span_ms is not None:
            out.append(f"time           {_time(self.span_ms[0])} to {_time(self.span_ms[1])}")
        out += [f"every row has  {said}: the mapping says so, not the file" for said in self.constants]
        out.append(
            "currencies     " + ", ".join(f"{name} {count:,}" for name, count in self.currencies.items())
        )
        written = ", ".join(
            f"{short(value)} {count:,}" for value, count in self.values.most_common(_NAMES_SHOWN)
        )
        out.append(
            "labels         "
            + ", ".join(f"{count:,} {name}" for name, count in self.labels.items())
            + (f"; as written: {written}" if written else "")
        )
        if self.ignored:
            more = len(self.ignored) - _NAMES_SHOWN
            names = ", ".join(self.ignored[:_NAMES_SHOWN])
            out.append(f"ignored        columns {names}" + (f" and {more} more" if more > 0 else ""))
        return out + [f"note           {note}" for note in self._notes()]

    def _notes(self) -> list[str]:
        return [_line(note, seen) for note, seen in self.notes.items()] + self.remarks


def short(text: str) -> str:
    """A value as it may be shown: cut, card numbers masked."""
    masked = mask_card_numbers(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return repr(masked if len(masked) <= _VALUE_SHOWN else masked[: _VALUE_SHOWN - 3] + "...")


def _line(text: str, seen: Seen) -> str:
    return f"{seen.rows:,} rows: {text}, such as row {seen.row}: {seen.value}"


def _time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
