"""What kind of text a CSV file is: compression, encoding, separator, header. What the file shows is sniffed and said."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip file (or a spreadsheet)",
    b"\xfd7zXZ": "an xz file",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"%PDF": "a PDF",
    b"ORC": "an ORC file",
}
_JSON, _XML = re.compile(r"\s*(\[\s*)?\{\s*\""), re.compile(r"\s*<(\?xml|!doctype|html)", re.IGNORECASE)
#: spreadsheets write the separator into a line of its own before the header
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r)")
_BLANK = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))+")
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_HEAD = 262_144
#: lines that are kept as they are
_SHOWN = 60
#: most lines before a header
MAX_SKIPPED = 1_000
_ROWS = 200


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written; ``sample``: its first rows, cells as text; ``lines_before``: those before its header."""

    compression: str | None
    encoding: str
    separator: str
    quote: str
    header: list[str]
    has_header: bool
    sample: list[list[str]]
    sniffed: bool
    lines_before: int = 0
    #: as they stand in the file, without what ends them
    first_lines: Sequence[str] = ()
    #: what stands before a quote inside a cell, where that is not a second quote
    escape: str | None = None

    def __str__(self) -> str:
        packed = f"{self.compression}, " if self.compression else ""
        how = "found by looking" if self.sniffed else "as set"
        name = _NAMES.get(self.separator, repr(self.separator))
        escaped = f", {self.escape} before quotes in cells" if self.escape else ""
        return f"CSV ({packed}{self.encoding}, separator {name} {how}{escaped}, {len(self.header)} columns)"

    def rows(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """Cells of lines of text. Raises: csv.Error."""
        return _reader(lines, self.separator, self.quote, self.escape, strict=strict)


def read_dialect(path: Path, rule: FileRule, wanted: Sequence[str] = ()) -> Dialect:
    """Look at the beginning of a file.

    Args:
        wanted: columns that a mapping reads; the separator that finds most of them is the right one.

    Raises:
        MappingError: it is no text, or not in the encoding that was said.
    """
    start = _first_bytes(path)
    for mark, kind in _OTHER_KINDS.items():
        if start.startswith(mark):
            raise MappingError(f"{path} is {kind}: save it as CSV or Parquet")
    compression = next((name for mark, name in _COMPRESSED.items() if start.startswith(mark)), None)
    encoding = rule.encoding or _encoding_by_mark(path, compression)
    with open_text(path, compression, encoding) as stream:
        raw = stream.read(_HEAD)
    text = _decoded(path, raw, encoding)
    separators = SEPARATORS if rule.separator is None else (rule.separator,)
    stated = _SEPARATOR_LINE.match(text)
    if stated is not None:
        separators = (rule.separator or stated[1],)
    first_lines = [line[1] for line in islice(_LINE.finditer(text), _SHOWN)]
    before = rule.skip_lines or int(stated is not None)
    text = text[_end_of_lines(text, before) :]
    # blank lines before the header
    blank = _BLANK.match(text)
    if blank is not None:
        before, text = before + len(_LINE.findall(blank[0])), text[blank.end() :]
    escapes = {one: rule.escape or _escape(text, one, rule.quote) for one in separators}
    parsed = {one: _parse(text, one, rule.quote, escapes[one], len(raw) == _HEAD) for one in separators}
    parsed = {one: rows for one, rows in parsed.items() if rows}
    if not parsed:
        raise MappingError(f"{path} has no rows of text")
    names = {name.rsplit("#", 1)[0] for name in wanted} | set(wanted)
    best = max(parsed, key=lambda one: _score(parsed[one], names, rule.columns))
    rows = parsed[best]
    header = list(rule.columns) if rule.columns is not None else rows[0]
    sample = rows if rule.columns is not None else rows[1:]
    # rows that end in a separator, which their header lacks
    if sample and all(len(row) == len(header) + 1 and not row[-1].strip() for row in sample):
        header = [*header, ""]
    return Dialect(
        compression, encoding, best, rule.quote, header, rule.columns is None, sample, rule.separator is None,
        before, first_lines, escapes[best],
    )  # fmt: skip


def _end_of_lines(text: str, many: int) -> int:
    """Where the first ``many`` lines end."""
    ends = [line.end() for line in islice(_LINE.finditer(text), many)]
    return ends[-1] if ends else 0


def open_text(path: Path, compression: str | None, encoding: str) -> pa.NativeFile:
    """The file's text as a stream of UTF-8, unpacked."""
    stream = pa.OSFile(str(path), "rb")
    if compression is not None:
        stream = pa.CompressedInputStream(stream, compression)
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        stream = pa.transcoding_input_stream(stream, encoding, "utf-8")
    return stream


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise MappingError(f"{path} is empty")
    return start


def _encoding_by_mark(path: Path, compression: str | None) -> str:
    with open_text(path, compression, "utf-8") as stream:
        start = stream.read(2)
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")


def _decoded(path: Path, raw: bytes, encoding: str) -> str:
    # the last character of a long file may be cut in two
    end = len(raw) if len(raw) < _HEAD else max(raw.rfind(b"\n"), raw.rfind(b"\r")) + 1 or len(raw) - 4
    try:
        text = raw[:end].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise MappingError(
            f'{path} is not {encoding} in line {line}: say its encoding under [file], such as encoding = "latin-1"'
        ) from None
    if "\0" in text:
        raise MappingError(
            f'{path} holds NUL characters: it is no text, or in another encoding: say it under [file], such as encoding = "utf-16"'
        )
    text = text.removeprefix("\ufeff")
    for name, begins in (("JSON", _JSON), ("XML or HTML", _XML)):
        if begins.match(text):
            raise MappingError(
                f"{path} is {name}: save it as CSV or Parquet; JSON that is transactions already goes to the topic `transactions` or to HTTP"
            )
    return text


def _reader(
    lines: Iterable[str], separator: str, quote: str, escape: str | None, *, strict: bool = False
) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter=separator,
        quotechar=quote,
        escapechar=escape,
        doublequote=escape is None,
        strict=strict,
    )


def _escape(text: str, separator: str, quote: str) -> str | None:
    """A backslash, where text that is no CSV without it is with it."""
    if f"\\{quote}" not in text:
        return None
    for escape in (None, "\\"):
        try:
            for _ in _reader(io.StringIO(text, newline=""), separator, quote, escape, strict=True):
                pass
        except csv.Error as error:
            # the beginning of a file may end inside a cell
            if "expected after" in str(error):
                continue
        return escape
    return None


def _parse(text: str, separator: str, quote: str, escape: str | None, cut: bool) -> list[list[str]]:
    """The first rows, blank lines left out; none if the text cannot be parsed so."""
    rows: list[list[str]] = []
    reader = _reader(io.StringIO(text, newline=""), separator, quote, escape)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > _ROWS:
                return rows[:-1]
    except csv.Error:
        return rows
    return rows[:-1] if cut and len(rows) > 1 else rows


def _score(rows: list[list[str]], names: set[str], columns: list[str] | None) -> tuple[int, float, int]:
    width = len(rows[0])
    hits = sum(name.strip() in names for name in rows[0]) if columns is None else int(width == len(columns))
    even = sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0
    return hits, even, width
