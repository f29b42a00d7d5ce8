"""What the first rows of a file show of its columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.text import as_text
from streams.mapping.files.dialect import SEPARATORS, Dialect, read_dialect
from streams.mapping.files.parquet_file import is_parquet, is_simple
from streams.mapping.files.reading import open_file, readable

#: rows that are looked at; labels are rare
ROWS = 20_000
#: wider files are looked at in their first columns
MAX_COLUMNS = 500
#: where a name begins a word without a sign: ``nameOrig``, ``IPAddress``, ``card1``
_BEGINS = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)")
_WORDS = re.compile(r"[^\W_]+")
#: numbers, dates and addresses stand in rows, not in a header
_DATA = re.compile(r"[-+]?\d+([.,]\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|[\da-fA-F:.]*[:.][\da-fA-F:.]*\d")


@dataclass(frozen=True)
class Column:
    """A column of the first ``rows`` rows. ``name``: as a mapping writes it; ``cells``: its values with their type."""

    name: str
    cells: pa.Array

    @property
    def rows(self) -> int:
        return len(self.cells)

    @cached_property
    def words(self) -> str:
        """The words of the name: ``TX_DateTime`` is ``tx date time``."""
        return " ".join(_WORDS.findall(_BEGINS.sub(" ", self.name.rsplit("#", 1)[0]))).lower()

    @cached_property
    def texts(self) -> list[str]:
        """The values that are there, as text."""
        return [text.strip() for text in as_text(self.cells).to_pylist() if text is not None]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.texts)

    def share(self, fits: Callable[[str], bool]) -> float:
        """Share of the distinct values that fit; 0 without values."""
        some = list(self.counts)[:2_000]
        return sum(map(fits, some)) / len(some) if some else 0.0

    @property
    def full(self) -> bool:
        """Whether nearly every row has a value: a file may end in a line of totals."""
        return bool(self.texts) and self.rows - len(self.texts) <= max(1, 0.05 * self.rows)

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return len(self.counts) == self.rows > 0


def named(path: Path, rule: FileRule) -> FileRule:
    """The rule with what the file lacks: names for the columns where the first line of a CSV file is none of names, and the number of
    lines before its header.

    Raises:
        MappingError: the file cannot be read.
    """
    with readable(path):
        if rule.columns is not None or is_parquet(path):
            return rule
        dialect = read_dialect(path, rule)
    before = _lines_before(dialect)
    if before is not None:
        return replace(rule, separator=before[0], skip_lines=before[1])
    header = dialect.header
    data = [cell for cell in header if _DATA.fullmatch(cell.strip())]
    counted = [str(number) for number in range(len(header))]
    # a header of numbers is one where a program counted the columns
    if len(data) < 2 or header in (counted, [*counted[1:], str(len(header))]):
        return rule
    return replace(rule, columns=[f"column {number}" for number in range(1, len(header) + 1)])


def _lines_before(dialect: Dialect) -> tuple[str, int] | None:
    """The separator of a file's rows, and how many lines stand before the first row that has as many cells as most."""
    best: tuple[int, str, int] | None = None
    for separator in SEPARATORS if dialect.sniffed else (dialect.separator,):
        rows = [next(replaced(dialect, separator=separator).rows([line]), []) for line in dialect.first_lines]
        widths = list(map(len, rows))
        width, count = max(Counter(widths).items(), key=lambda one: one[0] * one[1], default=(0, 0))
        if (
            width < 3
            or count <= (len(widths) - widths.index(width)) / 2
            or (best is not None and count * width <= best[0])
        ):
            continue
        first = widths.index(width)
        # a header that is shorter than its rows is one all the same
        words = max((sum(map(bool, row)) for row in rows[:first]), default=0)
        best = count * width, separator, first if words <= width / 2 else 0
    return None if best is None or best[2] in (0, dialect.lines_before) else best[1:]


def look_at(path: Path, rule: FileRule) -> tuple[str, list[Column]]:
    """What kind of file it is, and its columns; those that no field can have are left out.

    Raises:
        MappingError: the file cannot be read, or has no rows.
    """
    header = _header(path, rule)
    names = _numbered(header)[:MAX_COLUMNS]
    file = open_file(path, rule, names, ROWS)
    read = list(file.batches)
    batches = [batch.columns for batch in read if len(batch.numbers)]
    if not batches:
        odd = [
            f"{number} {broken.reason}" for batch in read for number, broken in sorted(batch.broken.items())
        ]
        raise MappingError(
            f"{path} has no row that fits its header: row {odd[0]}" if odd else f"{path} has no rows"
        )
    columns = [Column(name, pa.concat_arrays([batch[name] for batch in batches])) for name in names]
    return file.described, columns


def _header(path: Path, rule: FileRule) -> list[str]:
    """The names of the columns that a field can have."""
    with readable(path):
        if not is_parquet(path):
            return read_dialect(path, rule).header
        return [field.name for field in pq.ParquetFile(path).schema_arrow if is_simple(field.type)]


def _numbered(header: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    out = []
    for name in header:
        seen[name] += 1
        out.append(f"{name}#{seen[name]}" if header.count(name) > 1 else name)
    return out
