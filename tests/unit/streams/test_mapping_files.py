"""Files of other people: dialects of CSV, types of Parquet, names that stand twice, empty cells, damaged files."""

from __future__ import annotations

import decimal
import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping import MappingError, NoRowFits, ReplayFile, load_history, parse_mapping
from tests.support.mapped_files import KEY, mapping_text, parsed, replayed, report_of, rows_of, write_csv

SHOP = mapping_text('merchant_id = "shop"\namount_minor = "amount"')


def shops(path: Path, text: str = SHOP) -> list[tuple[str, int]]:
    return [(row["merchant_id"], row["amount_minor"]) for row in rows_of(path, text)]


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_separators_are_sniffed_and_said(tmp_path: Path, separator: str) -> None:
    lines = [["note", "shop", "amount"], ["x, y; z", "Café", "12.50"], ["", '"a ""b"", c"', "1"]]
    cells = [[f'"{c}"' if c == "x, y; z" else c for c in line] for line in lines]
    path = write_csv(tmp_path, *(separator.join(line) for line in cells))
    assert shops(path) == [("Café", 1250), ('a "b", c', 100)]
    name = {",": "comma", ";": "semicolon", "|": "bar", "\t": "tab"}[separator]
    assert f"separator {name} found by looking" in report_of(path, SHOP).read_as
    stated = SHOP + f'\n[file]\nseparator = "{separator}"'.replace("\t", "\\t")
    assert shops(path, stated) == shops(path) and "as set" in report_of(path, stated).read_as


def test_any_other_separator_and_quote_can_be_set(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "shop^amount", "'a^b'^1")
    assert shops(path, SHOP + '\n[file]\nseparator = "^"\nquote = "\'"') == [("a^b", 100)]


@pytest.mark.parametrize(
    ("encoding", "option"),
    [
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16-le", 'encoding = "utf-16-le"'),
        ("latin-1", 'encoding = "latin-1"'),
        ("cp1252", 'encoding = "cp1252"'),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, option: str) -> None:
    path = write_csv(tmp_path, "shop,amount", "Café,12.50", encoding=encoding)
    assert shops(path, f"{SHOP}\n[file]\n{option}") == [("Café", 1250)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_an_encoding_that_is_not_said_is_asked_for(tmp_path: Path, encoding: str) -> None:
    path = write_csv(tmp_path, "shop,amount", "Café,12.50", encoding=encoding)
    with pytest.raises(MappingError, match=r'say its? .*encoding = "'):
        rows_of(path, SHOP)


def test_an_encoding_that_shows_late_in_the_file_is_asked_for_too(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "shop,amount", *["shop,1"] * 60_000, "Café,1", encoding="latin-1")
    with pytest.raises(MappingError, match='encoding = "latin-1"'):
        rows_of(path, SHOP)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bz2", "lz4"])
def test_packed_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "packed.csv"
    with pa.CompressedOutputStream(str(path), kind) as out:
        out.write("shop;amount\nCafé;12.50\n".encode())
    assert shops(path) == [("Café", 1250)] and kind in report_of(path, SHOP).read_as


def test_line_ends_inside_quotes_in_a_file_of_several_blocks(tmp_path: Path) -> None:
    note = "two\nlines, and " + "more " * 40
    lines = [f'"{note}",shop-{i},{i}.5' for i in range(45_000)]
    path = write_csv(tmp_path, "note,shop,amount", *lines)
    assert path.stat().st_size > 9_000_000
    found = shops(path)
    assert len(found) == 45_000 and found[-1] == ("shop-44999", 4_499_950)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "ends.csv"
    path.write_bytes(f"shop,amount{ends}a,1{ends}{ends}b,2".encode())
    assert shops(path) == [("a", 100), ("b", 200)]


@pytest.mark.parametrize(
    "rows",
    [
        ["a,1,x", 'b,2,"open', "c,3,x", "d,4,x"],
        ["a,1,x", 'b,2,"open', "c,3,x", 'd,4,"closed"', "e,5,x"],
        ["a,1,x", 'b,2,"in" the middle', "c,3,x", 'd,4,"two', 'lines"'],
    ],
)
def test_a_quote_that_swallows_rows_stops(tmp_path: Path, rows: list[str]) -> None:
    path = write_csv(tmp_path, "shop,amount,note", *rows)
    with pytest.raises(MappingError, match="the row that begins in line 3 has a quote"):
        rows_of(path, SHOP)


def test_rows_of_another_length_are_refused_at_their_place_and_the_file_goes_on(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "shop,amount", "a,1", "b", "c,3", "d,4,5,6", "e,5")
    assert shops(path) == [("a", 100), ("c", 300), ("e", 500)]
    first, second, third, fourth, fifth = replayed(path, SHOP)
    assert [parse_transaction(raw).transaction_id for raw in (first, third, fifth)] == ["t1", "t3", "t5"]
    assert (second, fourth) == (b'"b"', b'"d,4,5,6"')
    reasons = report_of(path, SHOP).to_json()["reasons"]
    assert [(r["reason"], r["row"]) for r in reasons] == [
        ("has 1 cells where the header has 2", 2),
        ("has 4 cells where the header has 2", 4),
    ]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "Café;12.50", "b;1")
    assert shops(path, SHOP + '\n[file]\ncolumns = ["shop", "amount"]') == [("Café", 1250), ("b", 100)]


def test_a_name_that_stands_twice_must_be_numbered(tmp_path: Path) -> None:
    text = mapping_text('card_id = "Account"\nmerchant_id = "Bank"')
    twice = "Bank,Account,To,Account", "b,from,t,to"
    path = write_csv(tmp_path, *twice)
    with pytest.raises(MappingError, match=r"Account 2 times, at 2 and 4: write Account#1 or Account#2"):
        rows_of(path, text)
    parquet = tmp_path / "twice.parquet"
    pq.write_table(pa.table([pa.array([c]) for c in twice[1].split(",")], names=twice[0].split(",")), parquet)
    for file in (path, parquet):
        assert rows_of(file, text.replace('"Account"', '"Account#2"'))[0]["card_id"] == "to"
        assert rows_of(file, text.replace('"Account"', '"Account#1"'))[0]["card_id"] == "from"
        # a name that is not read may stand twice
        assert rows_of(file, text.replace('"Account"', '"To"'))[0]["card_id"] == "t"
    with pytest.raises(MappingError, match="no column Account#3"):
        rows_of(path, text.replace('"Account"', '"Account#3"'))


def both(tmp_path: Path, columns: dict[str, list[str]]) -> list[Path]:
    """The same table as CSV and as Parquet."""
    csv = tmp_path / "same.csv"
    cells = zip(*columns.values(), strict=True)
    csv.write_text("\n".join([",".join(columns), *(",".join(f'"{c}"' for c in row) for row in cells)]))
    pq.write_table(pa.table(columns), tmp_path / "same.parquet")
    return [csv, tmp_path / "same.parquet"]


def test_null_is_only_the_empty_cell(tmp_path: Path) -> None:
    text = mapping_text('merchant_id = "shop"\ncountry = "land"\ndevice_id = "device"')
    columns = {"shop": ["NULL", "null", "N/A", "nan", "None"], "land": ["NA", "NA", "FR", "NA", "NA"],
               "device": ["", "NA", "-", "", "x"]}  # fmt: skip
    for path in both(tmp_path, columns):
        rows = rows_of(path, text)
        assert [row["merchant_id"] for row in rows] == columns["shop"]
        assert [row["country"] for row in rows] == columns["land"]
        assert [row["device_id"] for row in rows] == [None, "NA", "-", None, "x"]
        rows = rows_of(path, text + '\n[file]\nnull = ["-", "N/A"]')
        assert [row["device_id"] for row in rows] == [None, "NA", None, "x"]


def test_an_empty_required_cell_is_refused_alike(tmp_path: Path) -> None:
    for path in both(tmp_path, {"shop": ["", "a"], "x": ["1", "2"]}):
        text = mapping_text('merchant_id = "shop"')
        assert [row["merchant_id"] for row in rows_of(path, text)] == ["a"]
        assert report_of(path, text).to_json()["reasons"][0]["reason"] == "merchant_id is empty"


@pytest.mark.parametrize(
    ("column", "right"),
    [
        (pa.array([7, 70], pa.uint64()), ["7", "70"]),
        (pa.array([7.0, 1e15]), ["7", "1000000000000000"]),
        (pa.array([7.5, 2.0], pa.float32()), ["7.5", "2"]),
        (pa.array([decimal.Decimal("7.00"), decimal.Decimal("70.00")]), ["7", "70"]),
        (pa.array([decimal.Decimal(7), decimal.Decimal(2**70)], pa.decimal128(38, 0)), ["7", str(2**70)]),
        (pa.array(["7", "07"]).dictionary_encode(), ["7", "07"]),
        (pa.array(["7", "07"], pa.large_string()), ["7", "07"]),
        (pa.array(["7", "07"], pa.string_view()), ["7", "07"]),
        (pa.array([b"7", b"07"]), ["7", "07"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
)
def test_identifiers_of_any_simple_type(tmp_path: Path, column: pa.Array, right: list[str]) -> None:
    path = tmp_path / "ids.parquet"
    pq.write_table(pa.table({"id": column}), path)
    assert [row["merchant_id"] for row in rows_of(path, mapping_text('merchant_id = "id"'))] == right


def test_numbers_that_are_not_exact_are_no_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    pq.write_table(pa.table({"id": [2.0**53 + 2, 5.0]}), path)
    text = mapping_text('merchant_id = "id"')
    assert [row["merchant_id"] for row in rows_of(path, text)] == ["5"]
    assert "too large to be exact" in report_of(path, text).to_json()["reasons"][0]["reason"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([[1]]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([b"ab"], pa.binary(2)),
    ],
)
def test_types_that_no_field_has_are_refused_by_name(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "nested.parquet"
    pq.write_table(pa.table({"id": column, "shop": ["a"]}), path)
    with pytest.raises(
        MappingError, match=r"column id of .* is a (struct|list|map|fixed_size_binary)"
    ) as error:
        rows_of(path, mapping_text('merchant_id = "id"'))
    assert error.value.exit_code == 2
    assert len(rows_of(path, mapping_text('merchant_id = "shop"'))) == 1


def test_bytes_that_are_no_text_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bytes.parquet"
    pq.write_table(pa.table({"id": [b"\xff\xfe"]}), path)
    with pytest.raises(MappingError, match=r"column id of .* no UTF-8 text"):
        rows_of(path, mapping_text('merchant_id = "id"'))


def test_text_that_is_none_in_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"id": ["marker-in-the-file"]}), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"marker-in-the-file", b"marker-\xff\xfe-the-file"))
    with pytest.raises(MappingError, match=r"column id of .* no UTF-8 text"):
        rows_of(path, mapping_text('merchant_id = "id"'))


def test_a_small_file_of_many_rows_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    long = pa.DictionaryArray.from_arrays(
        pa.array(pa.repeat(pa.scalar(0, pa.int32()), 20_000)), pa.array(["x" * 1_000_000])
    )
    pq.write_table(pa.table({"id": long}), path)
    assert path.stat().st_size < 2_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(NoRowFits, match="20,000 rows"):
        load_history(path, parse_mapping(mapping_text('merchant_id = "id"').encode(), "bomb"), KEY)
    assert pa.total_allocated_bytes() - before < 50_000_000


def test_a_row_group_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    with pq.ParquetWriter(
        path, pa.schema([("id", pa.string())]), use_dictionary=False, compression="zstd"
    ) as writer:
        writer.write_table(pa.table({"id": pa.repeat(pa.scalar("x" * 1_000_000), 600)}))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(MappingError, match=r"row group 0 unpacks to 57[0-9] MB"):
        rows_of(path, mapping_text('merchant_id = "id"'))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "no rows of text"),
        ("a.csv", b"shop,amount\n", "has no rows"),
        ("a.csv", b"PK\x03\x04....", "a zip file"),
        ("a.csv", b"%PDF-1.4 ....", "a PDF"),
        ("a.csv", b"shop,amount\n\x00\x00,1\n", "NUL"),
        ("a.csv", gzip.compress(b"shop,amount\na,1\n", mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"PAR1 not at all", "cannot be read"),
        ("a.parquet", b"shop,amount\na,1\n", "as Parquet"),
        ("a.csv", b"name,amount\na,1\n", "no column shop; it has name, amount"),
    ],
)
def test_files_that_cannot_be_read_say_so(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MappingError, match=text):
        rows_of(tmp_path / name, SHOP)


def test_a_card_number_makes_its_row_a_dead_letter_and_the_file_goes_on(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "card,x", "c-1,", "4111 1111 1111 1111,", "c-3,")
    text = mapping_text('card_id = "card"')
    first, second, third = replayed(path, text)
    assert [parse_transaction(raw).card_id for raw in (first, third)] == ["c-1", "c-3"]
    assert b"1111 1111" not in second and b"4111 11** **** 1111" in second
    with pytest.raises(InvalidEvent) as refused:
        parse_transaction(second)
    assert refused.value.field == "card_id"
    rules = parse_mapping(text.encode(), "test")
    assert [key for records in ReplayFile(path, rules, KEY).transactions() for key in records.keys] == [
        b"c-1",
        None,
        b"c-3",
    ]
    (reason,) = report_of(path, text).to_json()["reasons"]
    assert "tokenise = true" in reason["reason"] and "1111 1111" not in reason["value"]
    tokenised = parsed(
        path, text.replace('card_id = "card"', 'card_id = { column = "card", tokenise = true }')
    )
    assert len({tx.card_id for tx in tokenised}) == 3 and all(
        tx.card_id.startswith("tok-") for tx in tokenised
    )


def test_a_row_that_the_contract_would_take_is_refused_for_the_mapping_s_reason(tmp_path: Path) -> None:
    # a text that is RFC 3339 and not in the format that the mapping states
    path = write_csv(tmp_path, "t", "01-07-2026", "2026-07-01T12:00:00Z")
    text = mapping_text('event_time = { column = "t", format = "%d-%m-%Y" }')
    good, bad = replayed(path, text)
    assert parse_transaction(good).event_time == datetime(2026, 7, 1, tzinfo=UTC)
    with pytest.raises(InvalidEvent):
        parse_transaction(bad)
    assert b"2026-07-01T12:00:00Z" in bad


def test_no_row_that_fits_is_said_with_the_three_commonest_reasons(tmp_path: Path) -> None:
    rows = ["01.02.2026,1,a"] * 5 + ["2026-01-01,x,a"] * 4 + ["2026-01-01,1,"] * 3 + ["2026-01-01,-1,a"] * 2
    path = write_csv(tmp_path, "t,a,shop", *rows)
    with pytest.raises(NoRowFits) as error:
        rows_of(path, mapping_text('event_time = "t"\namount_minor = "a"\nmerchant_id = "shop"'))
    assert error.value.exit_code == 1
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert "no row is a transaction (14 rows)" in lines[0]
    assert lines[1] == "5 rows: event_time is no time in ISO 8601, such as row 1: '01.02.2026'"
    assert lines[2] == "4 rows: amount_minor is no number with decimal point, such as row 6: 'x'"
    assert lines[3] == "3 rows: merchant_id is empty, such as row 10: ''"
    assert lines[4] == "2 for 1 other reasons"


def test_the_report_says_what_the_file_holds(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "t,a,c,l,unused",
        "2026-01-02,1,EUR,1,x",
        "2026-01-01,2,JPY,0,x",
        "2026-01-03,3,EUR,,x",
        "never,3,EUR,0,x",
    )
    fields = 'event_time = "t"\namount_minor = "a"\ncurrency = "c"'
    report = report_of(path, mapping_text(fields, tables='[label]\ncolumn = "l"\nfraud = 1')).to_json()
    assert (report["rows"], report["fit"], report["refused"]) == (4, 3, 1)
    assert report["labels"] == {"fraud": 1, "legit": 1, "none": 1}
    assert report["event_time"] == {"first": "2026-01-01T00:00:00.000Z", "last": "2026-01-03T00:00:00.000Z"}
    assert report["currencies"] == {"EUR": 2, "JPY": 1}
    assert report["ignored_columns"] == ["unused"]


@pytest.mark.parametrize("line", ["sep=;", "SEP=;\r", '"sep=;"'])
def test_a_spreadsheet_s_line_of_its_separator_is_no_header(tmp_path: Path, line: str) -> None:
    path = write_csv(tmp_path, line, "a;b", "1;x", "2;y;z", "3;z", encoding="utf-8-sig")
    text = mapping_text('transaction_id = "a"\nmerchant_id = "b"')
    assert [(row["transaction_id"], row["merchant_id"]) for row in rows_of(path, text)] == [
        ("1", "x"),
        ("3", "z"),
    ]
    (reason,) = report_of(path, text).to_json()["reasons"]
    assert (reason["row"], reason["reason"]) == (2, "has 3 cells where the header has 2")


@pytest.mark.parametrize(
    ("line", "kind"),
    [('{"id": 1, "amount": 5}', "JSON"), ('[{"id": 1}]', "JSON"), ('<?xml version="1.0"?>', "XML or HTML"), ("<html>", "XML or HTML")],
)  # fmt: skip
def test_text_of_another_kind_is_named(tmp_path: Path, line: str, kind: str) -> None:
    path = write_csv(tmp_path, line, line)
    with pytest.raises(MappingError, match=f"is {kind}: save it as CSV or Parquet"):
        rows_of(path, mapping_text('transaction_id = "id"'))


def test_a_header_in_square_brackets_is_a_header(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "[id],[shop]", "1,x")
    (row,) = rows_of(path, mapping_text('transaction_id = "[id]"\nmerchant_id = "[shop]"'))
    assert (row["transaction_id"], row["merchant_id"]) == ("1", "x")


@pytest.mark.parametrize(
    ("code", "right"), [("742", "0742"), ("5411.0", "5411"), ("5411", "5411"), ("0742", "0742")]
)
def test_category_codes_have_four_digits(tmp_path: Path, code: str, right: str) -> None:
    path = write_csv(tmp_path, "code", code)
    assert rows_of(path, mapping_text('mcc = "code"'))[0]["mcc"] == right
    for column in (pa.array([int(float(code))]), pa.array([float(code)])):
        pq.write_table(pa.table({"code": column}), tmp_path / "t.parquet")
        assert rows_of(tmp_path / "t.parquet", mapping_text('mcc = "code"'))[0]["mcc"] == right


@pytest.mark.parametrize("code", ["fr", "Fr", " FR "])
def test_countries_have_capital_letters(tmp_path: Path, code: str) -> None:
    path = write_csv(tmp_path, "land", code)
    assert rows_of(path, mapping_text('country = "land"'))[0]["country"] == "FR"


@pytest.mark.parametrize(
    ("cells", "merchants"),
    [
        # as Spark, Hive and MySQL write them
        ([r'"Joe \"the shop\" X"', r'"a \\ b"', '"c, d"'], ['Joe "the shop" X', r"a \ b", "c, d"]),
        # quotes are doubled, and a backslash is one
        (['"Joe ""X"" Y"', r'"C:\temp\"', r"D:\x"], ['Joe "X" Y', "C:\\temp\\", r"D:\x"]),
        ([r"Joe \"X\" Y", "m", "n"], [r"Joe \"X\" Y", "m", "n"]),
    ],
)
def test_quotes_in_cells_are_doubled_or_escaped(
    tmp_path: Path, cells: list[str], merchants: list[str]
) -> None:
    path = write_csv(tmp_path, "m,x", *(f"{cell},1" for cell in cells))
    text = mapping_text('merchant_id = "m"')
    assert [row["merchant_id"] for row in rows_of(path, text)] == merchants
    assert ("before quotes in cells" in report_of(path, text).read_as) == (r"\"the" in cells[0])


def test_an_escape_that_comes_late_can_be_said(tmp_path: Path) -> None:
    rows = ["plain,1"] * 60_000 + [r'"Joe \"X\", Y",1']
    path = write_csv(tmp_path, "m,x", *rows)
    text = mapping_text('merchant_id = "m"', top='[file]\nescape = "\\\\"')
    assert rows_of(path, text)[-1]["merchant_id"] == 'Joe "X", Y'
