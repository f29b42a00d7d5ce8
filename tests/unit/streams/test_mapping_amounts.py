"""Amounts of foreign files: the currency decides, nothing is rounded unasked, a refund is no payment."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.mapping import NoRowFits
from tests.support.mapped_files import mapping_text, replayed, report_of, rows_of, write_csv

BOTH = 'amount_minor = "a"\ncurrency = "c"'


def amounts_of(
    folder: Path, options: str, *cells: str, currency: str = "EUR", tables: str = ""
) -> dict[str, int]:
    """Amounts by row of the rows that are transactions; the first row is always a good one."""
    path = write_csv(folder, "a|x", "7|", *(f"{cell}|" for cell in cells))
    text = mapping_text(
        f'amount_minor = {{ column = "a"{options} }}\ncurrency = {{ constant = "{currency}" }}', tables=tables
    )
    return {row["transaction_id"]: row["amount_minor"] for row in rows_of(path, text)}


def test_the_currency_decides_row_by_row(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "a,c",
        "12.50,EUR",
        "1000,JPY",
        "1.234,KWD",
        "0.40,EUR",
        "0.4,EUR",
        "1.2345,CLF",
        "5,XYZ",
        "6,",
    )
    rows = rows_of(path, mapping_text(BOTH))
    assert [row["amount_minor"] for row in rows] == [1250, 1000, 1234, 40, 40, 12345]
    reasons = report_of(path, mapping_text(BOTH)).to_json()["reasons"]
    assert {(r["row"], r["reason"].split(",")[0]) for r in reasons} == {
        (7, "amount_minor has a currency that is not in ISO 4217"),
        (8, "currency is empty"),
    }


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.float64(), pa.decimal128(12, 3), pa.string(), pa.large_string()]
)
def test_every_type_of_column_gives_the_same(tmp_path: Path, kind: pa.DataType) -> None:
    written = ["57.16", "0.29", "1.1", "4096", "163.64"]
    values = [Decimal(text) if pa.types.is_decimal(kind) else text for text in written]
    if pa.types.is_floating(kind):
        values = [float(text) for text in written]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.array(values, kind)}), path)
    assert [row["amount_minor"] for row in rows_of(path, mapping_text('amount_minor = "a"'))] == [
        5716,
        29,
        110,
        409600,
        16364,
    ]


def test_an_exponent_that_is_given_holds(tmp_path: Path) -> None:
    assert amounts_of(tmp_path, ", exponent = 0", "1250") == {"t1": 7, "t2": 1250}
    assert amounts_of(tmp_path, ", exponent = 3", "1.234") == {"t1": 7000, "t2": 1234}


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("", {}),
        ("half_even", {"t2": 100, "t3": 268}),
        ("half_up", {"t2": 101, "t3": 268}),
        ("down", {"t2": 100, "t3": 267}),
    ],
)
def test_a_fraction_of_a_cent_is_refused_or_rounded_as_said(
    tmp_path: Path, option: str, right: dict[str, int]
) -> None:
    options = f', round = "{option}"' if option else ""
    assert amounts_of(tmp_path, options, "1.005", "2.675") == {"t1": 700, **right}


@pytest.mark.parametrize(
    ("cell", "options", "right"),
    [
        ("$134.09", "", 13409),
        ("134.09 $", "", 13409),
        ("US$ 134.09", "", 13409),
        ("USD 134.09", "", 13409),
        ("134.09USD", "", 13409),
        ("+134.09", "", 13409),
        (" 134.09 ", "", 13409),
        (".5", "", 50),
        ("5.", "", 500),
        ("1e2", "", 10000),
        ("1,234.56", ', thousands = ","', 123456),
        ("12,34,567.00", ', thousands = ","', 123456700),
        ("1.234,56", ', decimal = ",", thousands = "."', 123456),
        ("12,5", ', decimal = ",", thousands = "."', 1250),
        ("1 234,56", ', decimal = ",", thousands = " "', 123456),
        ("1\u202f234,56", ', decimal = ",", thousands = " "', 123456),
        ("1\u00a0234\u00a0567,5", ', decimal = ",", thousands = " "', 123456750),
        ("1'234.50", ", thousands = \"'\"", 123450),
        ("1234.50", ', thousands = ","', 123450),
        # what would be guessed is refused
        ("1,234.56", "", None),
        ("1.234,56", "", None),
        ("12,50", "", None),
        ("1.5", ', decimal = ",", thousands = "."', None),
        ("1,23,4.00", ', thousands = ","', None),
        ("€5", "", None),
        ("EUR 5", "", None),
        ("£5", "", None),
        # dollars of other countries
        ("CA$5", "", None),
        ("A$5", "", None),
        ("HK$5", "", None),
        ("R$5", "", None),
        ("US$5", "", 500),
        ("--5", "", None),
        ("(5", "", None),
        ("ten", "", None),
        ("1e30", "", None),
        ("nan", "", None),
        ("inf", "", None),
        ("0x10", "", None),
        ("1_000", "", None),
        # refunds are no payments
        ("-5", "", None),
        ("5-", "", None),
        ("\u22125", "", None),
        ("(99.00)", "", None),
        ("$-77.00", "", None),
        ("-$77.00", "", None),
        ("($77.00)", "", None),
        ("77.00 CR", "", None),
        ("77.00 DR", "", 7700),
        ("0", "", 0),
        ("-0.00", "", 0),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(tmp_path: Path, cell: str, options: str, right: int | None) -> None:
    found = amounts_of(tmp_path, options, cell, currency="USD", tables='[file]\nseparator = "|"')
    assert found.get("t2") == right and found["t1"] == 700


def test_payments_may_be_the_negative_ones(tmp_path: Path) -> None:
    found = amounts_of(tmp_path, ', payments = "negative"', "(99.00)", "12.50-", "-3", "4")
    assert found == {"t2": 9900, "t3": 1250, "t4": 300}


def test_refunds_are_refused_or_left_out_as_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a", "1", "-2", "(3)")
    text = mapping_text('amount_minor = { column = "a", refunds = "skip" }')
    assert [row["amount_minor"] for row in rows_of(path, text)] == [100]
    assert len(replayed(path, text)) == 1
    assert report_of(path, text).to_json()["skipped"] == {"refunds": 2}
    refused = report_of(path, mapping_text('amount_minor = "a"')).to_json()
    assert (refused["rows"], refused["refused"]) == (3, 2) and "refund" in refused["reasons"][0]["reason"]


def test_rows_of_a_kind_that_is_no_payment_are_left_out(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a,kind", "1,SALE", "2,REFUND", "3,refund ", "4,VOID")
    text = mapping_text('amount_minor = "a"', top='skip = [{ column = "kind", values = ["REFUND", "VOID"] }]')
    assert [row["amount_minor"] for row in rows_of(path, text)] == [100]
    assert report_of(path, text).to_json()["skipped"] == {"with kind REFUND, VOID": 3}


def test_a_decimal_comma_may_be_the_file_s(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a;lat", "12,50;48,85")
    text = mapping_text('amount_minor = "a"\nlatitude = "lat"', tables='[file]\ndecimal = ","')
    (row,) = rows_of(path, text)
    assert (row["amount_minor"], row["latitude"]) == (1250, 48.85)
    with pytest.raises(NoRowFits, match="decimal point"):
        rows_of(path, mapping_text('amount_minor = "a"'))


@pytest.mark.parametrize(
    ("cell", "currency", "right"),
    [("CA$5", "CAD", 500), ("C$5", "CAD", 500), ("NT$5", "TWD", 500), ("CN¥5", "CNY", 500), ("CN¥5", "JPY", None), ("JP¥5", "JPY", 5)],
)  # fmt: skip
def test_a_sign_with_letters_is_one_currency_s(
    tmp_path: Path, cell: str, currency: str, right: int | None
) -> None:
    found = amounts_of(tmp_path, "", cell, currency=currency, tables='[file]\nseparator = "|"')
    assert found.get("t2") == right
