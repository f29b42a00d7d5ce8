"""Damaged files and mappings: each must end in transactions or in a reason, and lose no row without a word."""

from __future__ import annotations

import gzip
import io
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping import MappingError, ReplayFile, parse_mapping
from streams.mapping.definition import FileRule
from streams.mapping.suggestion import suggest
from tests.support.mapped_files import KEY

_ROWS = [
    ["id", "when", "card", "shop", "amount", "currency", "land", "entry", "lat", "bad"],
    ["1", "2026-01-01T10:00:00Z", "c-1", "Café", "12.50", "EUR", "FR", "C", "48.85", "0"],
    ["2", "2026-01-02 10:00:00", "4111111111111111", 'a "b", c', "1000", "JPY", "NA", "E", "", "1"],
    ["3", "2026-01-03T10:00:00+02:00", "c-3", "two\nlines", "1.234", "KWD", "", "X", "-0.5", "2"],
    ["4", "03.01.2026", "", "NULL", "-7", "XYZ", "DE", "C", "95", ""],
]
_MAPPING = """
zone = "Europe/Paris"
order_by = "when"
skip = [{ column = "entry", values = ["V"] }]
[file]
null = ["NULL"]
decimal = "."
[fields]
transaction_id = { column = "id", template = "t-{}" }
event_time = "when"
card_id = { column = "card", tokenise = true }
merchant_id = { column = ["shop", "land"], template = "{}:{}" }
amount_minor = { column = "amount", round = "half_even", refunds = "skip" }
currency = "currency"
country = "land"
channel = { column = "entry", map = { C = "pos", E = "ecom" } }
latitude = { column = "lat" }
[label]
column = "bad"
fraud = 1
honest = [0]
delay_days = 3
"""
_COUNTED = _MAPPING.replace(
    'event_time = "when"', 'event_time = { column = "id", epoch = { unit = "h", from = "2026-01-01" } }'
)
_FORMATTED = _MAPPING.replace(
    'event_time = "when"', 'event_time = { column = "when", format = "%Y-%m-%dT%H:%M:%S%z" }'
)
_TOKENS = [
    b'"', b'""', b"\n", b"\r\n", b"\r", b",", b";", b"\t", b"|", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"inf", b"1e999",
    b"9" * 400, b"-", b"(", b")", b"{}", b"{", b"}", b"[", b"]", b"=", b"#", b"'", b"\\", b"%", b"%z", b"%Q", b"true", b"1.5", b"-1", b"0",
    b"2026-02-30", b"9999-12-31T23:59:59Z", b"0000-00-00", b"\xf0\x9f\x92\xb3", b"\xe2\x82\xac", b"4111 1111 1111 1111", b"null",
    b"\x1f\x8b", b"PAR1", b"[fields]", b"[label]", b'"id"', b'"when"', b'"amount"', b"1970-01-01T00:00:00Z", b"x" * 70, b"UTC", b"+25:00",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file and the text of a mapping."""

    name: str
    content: bytes
    mapping: bytes


def seeds() -> list[Case]:
    """Cases without damage."""
    table = pa.table({name: [row[i] for row in _ROWS[1:]] for i, name in enumerate(_ROWS[0])})
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    packed = gzip.compress(_csv(","))
    plain = _MAPPING.encode()
    return [
        Case("a.csv", _csv(","), plain),
        Case("b.csv", _csv(";"), _COUNTED.encode()),
        Case("c.csv", _csv("\t").decode().encode("utf-16"), _FORMATTED.encode()),
        Case("d.csv.gz", packed, plain),
        Case("e.parquet", parquet.getvalue(), plain),
    ]


def mutated(case: Case, dice: random.Random) -> Case:
    """The case with some damage to its file, its mapping or both."""
    which = dice.random()
    content, mapping = case.content, case.mapping
    if which < 0.6:
        content = _damaged(content, dice)
    if which > 0.4:
        mapping = _damaged(mapping, dice)
    return Case(case.name, content, mapping)


def outcome(case: Case, folder: Path, suggested: bool) -> str:
    """``fits``, or the first words of the reason. Whatever is not a reason is raised: a defect.

    ``suggested``: whether a mapping is suggested for the file too, which takes longer.
    """
    path = folder / case.name
    path.write_bytes(case.content)
    if suggested:
        try:
            suggest(path, FileRule())
        except MappingError as error:
            assert str(error), "no reason"
    try:
        file = ReplayFile(path, parse_mapping(case.mapping, "m"), KEY)
    except MappingError as error:
        assert str(error) and error.exit_code in (1, 2)
        return str(error)[:40]
    sent = [value for records in file.transactions(3) for value in records.values]
    accepted = sum(map(_is_transaction, sent))
    report = file.report
    assert len(sent) == report.rows == file.rows and accepted == report.fit == report.rows - file.unfit
    assert sum(seen.rows for seen in report.reasons.values()) == file.unfit
    labels = file.labels_until(None, 10_000)
    assert len(labels.values) == report.labels["fraud"] + report.labels["legit"]
    return "fits"


def _is_transaction(value: bytes) -> bool:
    try:
        parse_transaction(value)
    except InvalidEvent:
        return False
    return True


def _csv(separator: str) -> bytes:
    def cell(text: str) -> str:
        odd = any(char in text for char in f'"\n{separator}')
        return '"' + text.replace('"', '""') + '"' if odd else text

    return "".join(separator.join(map(cell, row)) + "\n" for row in _ROWS).encode()


def _damaged(raw: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        begin = dice.randrange(len(raw) + 1)
        end = min(len(raw), begin + dice.choice((0, 1, 1, 2, 5, 20, 200)))
        kind = dice.randrange(6)
        if kind == 0:
            raw = raw[:begin] + bytes(dice.randrange(256) for _ in range(end - begin)) + raw[end:]
        elif kind == 1:
            raw = raw[:begin] + raw[end:]
        elif kind == 2:
            raw = raw[:end] + raw[begin:end] * dice.choice((1, 2, 50)) + raw[end:]
        elif kind == 3:
            raw = raw[:begin]
        else:
            raw = raw[:begin] + dice.choice(_TOKENS) + (raw[end:] if kind == 4 else raw[begin:])
    return raw
