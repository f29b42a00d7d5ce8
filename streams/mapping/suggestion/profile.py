"""What the first rows of a file show of its columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.text import as_text
from streams.mapping.files.dialect import read_dialect
from streams.mapping.files.parquet_file import is_parquet, is_simple
from streams.mapping.files.reading import open_file, readable

#: rows that are looked at; labels are rare
ROWS = 20_000
#: wider files are looked at in their first columns
MAX_COLUMNS = 500
#: where a name begins a word without a sign: ``nameOrig``, ``IPAddress``, ``card1``
_BEGINS = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)")
_WORDS = re.compile(r"[^\W_]+")


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
        """Whether nearly every row has a value."""
        return len(self.texts) >= 0.95 * self.rows

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return len(self.counts) == self.rows > 0


def look_at(path: Path, rule: FileRule) -> tuple[str, list[Column]]:
    """What kind of file it is, and its columns; those that no field can have are left out.

    Raises:
        MappingError: the file cannot be read, or has no rows.
    """
    header = _header(path, rule)
    names = _numbered(header)[:MAX_COLUMNS]
    file = open_file(path, rule, names, ROWS)
    batches = [batch.columns for batch in file.batches if len(batch.numbers)]
    if not batches:
        raise MappingError(f"{path} has no rows")
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
