"""A first mapping for a file never seen: right where the file shows it, and never one that does not parse."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.attributes import Attribute, Attributes
from streams.mapping import MappingError, parse_mapping
from streams.mapping.definition import FileRule
from streams.mapping.suggestion import suggest
from tests.support.mapped_files import mapping_text, parsed, report_of, rows_of, write_csv
from tests.support.public_files import FILES


def fields_of(path: Path, rule: FileRule | None = None) -> dict[str, Any]:
    """The suggested mapping as TOML reads it."""
    return tomllib.loads(suggest(path, rule or FileRule()))


@pytest.mark.parametrize("name", FILES)
def test_public_files_are_mapped_so_that_rows_fit(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path, *FILES[name])
    text = suggest(path, FileRule())
    assert f"--mapping {name} may be all you need" in text
    report = report_of(path, text)
    assert report.fit >= 2 and report.labels["fraud"] == 1 and report.labels["legit"] >= 1


def test_what_the_public_files_show_is_found(tmp_path: Path) -> None:
    found = {name: fields_of(write_csv(tmp_path, *lines)) for name, lines in FILES.items()}
    assert found["tabformer"]["fields"]["event_time"]["column"] == ["Year", "Month", "Day", "Time"]
    assert found["tabformer"]["fields"]["amount_minor"] == {"column": "Amount", "refunds": "skip"}
    assert found["tabformer"]["fields"]["currency"] == {"constant": "USD"}
    assert found["tabformer"]["label"]["fraud"] == "Yes" and found["tabformer"]["label"]["honest"] == "No"
    assert found["paysim"]["fields"]["event_time"]["epoch"]["unit"] == "h"
    assert (
        found["paysim"]["fields"]["card_id"] == "nameOrig"
        and found["paysim"]["fields"]["merchant_id"] == "nameDest"
    )
    assert (
        found["ulb"]["fields"]["event_time"]["epoch"]["unit"] == "s"
        and found["ulb"]["label"]["column"] == "Class"
    )
    assert (
        found["ibm-aml"]["fields"]["card_id"] == "Account#1"
        and found["ibm-aml"]["fields"]["merchant_id"] == "Account#2"
    )
    assert found["ibm-aml"]["fields"]["amount_minor"] == "Amount Paid"
    assert found["ieee-cis"]["fields"]["transaction_id"] == "TransactionID"


def test_a_bank_s_export_with_semicolons_and_commas(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "Buchungsnr;Datum;Uhrzeit;Karte;Händler;Betrag;Währung;Land;IP-Adresse;Betrug",
        "A-17;31.12.2025;23:59;4111111111111111;Bäcker;1.234,50;EUR;NA;203.0.113.7;nein",
        "A-18;01.01.2026;00:01;4012888888881881;Café;3,99;CHF;DE;2001:db8::1;ja",
        encoding="utf-8-sig",
    )
    text = suggest(path, FileRule())
    found = tomllib.loads(text)["fields"]
    assert found["event_time"] == {
        "column": ["Datum", "Uhrzeit"],
        "template": "{} {}",
        "format": "%d.%m.%Y %H:%M",
    }
    assert found["amount_minor"] == {"column": "Betrag", "decimal": ",", "thousands": "."}
    assert (found["currency"], found["country"], found["ip"]) == ("Währung", "Land", "IP-Adresse")
    assert found["card_id"] == {"column": "Karte", "tokenise": True}
    first, second = parsed(path, text)
    assert (first.amount_minor, first.currency, first.country) == (123450, "EUR", "NA")
    assert second.event_time.isoformat() == "2026-01-01T00:01:00+00:00" and second.card_id.startswith("tok-")
    assert "4111" not in text
    assert report_of(path, text).labels == {"fraud": 1, "legit": 1, "none": 0}


def test_a_typed_table(tmp_path: Path) -> None:
    path = tmp_path / "typed.parquet"
    pq.write_table(pa.table({
        "payment_id": ["a", "b"], "created": pa.array([1, 2], pa.timestamp("ns")), "amount_cents": [1250, 99], "nested": [[1], [2]],
        "customer_id": [7, 7], "store": ["x", "y"], "chargeback": [True, False],
    }), path)  # fmt: skip
    found = fields_of(path)
    assert found["fields"]["amount_minor"] == {"column": "amount_cents", "exponent": 0}
    assert (found["fields"]["event_time"], found["fields"]["merchant_id"], found["fields"]["card_id"]) == (
        "created",
        "store",
        "customer_id",
    )
    assert found["label"] == {"column": "chargeback", "fraud": "true", "honest": "false", "delay_days": 7}


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["13/01/2026 10:00", "01/02/2026 11:00"], "%d/%m/%Y %H:%M"),
        (["01/13/2026 10:00", "02/01/2026 11:00"], "%m/%d/%Y %H:%M"),
        (["20260113101500", "20260201111500"], "%Y%m%d%H%M%S"),
        (["13 Jan 2026 10:00:01", "01 Feb 2026 11:00:02"], "%d %b %Y %H:%M:%S"),
        (["01/13/2026 10:00:00 PM", "02/01/2026 11:00:00 AM"], "%m/%d/%Y %I:%M:%S %p"),
    ],
)
def test_formats_of_time_are_told_apart(tmp_path: Path, cells: list[str], form: str) -> None:
    path = write_csv(tmp_path, "id,at,amount", *(f"{i},{cell},{i}.50" for i, cell in enumerate(cells)))
    assert fields_of(path)["fields"]["event_time"] == {"column": "at", "format": form}


def test_what_could_be_two_dates_is_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "id,at,amount", "1,01/02/2026 10:00,1.5", "2,03/04/2026 11:00,2.5")
    text = suggest(path, FileRule())
    assert "would fit as well: say which it is" in text and "'%m/%d/%Y %H:%M'" in text


def test_a_file_that_shows_nothing_gets_a_mapping_to_fill_in(tmp_path: Path) -> None:
    path = write_csv(tmp_path, 'x,"y\ty"', '"a ""q"" \\",b', "c,d")
    text = suggest(path, FileRule())
    parse_mapping(text.encode(), "suggested")
    assert text.count("put the right value here") == 6


def loyal(number: int) -> list[str]:
    """A row whose tier and basket tell fraud, and whose colour and noise do not."""
    fraud = number % 40 == 0
    tier = ("bronze" if number % 3 else "gold") if not fraud else "new"
    basket = 1 + number % 7 if not fraud else 30 + number % 5
    shop = f"shop-{number % 23}"
    return [f"o-{number}", f"2026-01-{1 + number % 28:02d}T10:00:00Z", f"c-{number % 90}", shop, f"{number % 50}.50", "EUR",
            tier, str(basket), ("red", "blue", "green")[number // 7 % 3], str(number * 7919 % 101), "1" if fraud else "0",
            "yes" if fraud else "no", str(number)]  # fmt: skip


LOYAL = ["order_id", "created", "card_id", "shop", "amount", "currency", "LoyaltyTier", "Basket Items", "colour", "noise", "fraud",
         "disputed", "row"]  # fmt: skip


def loyal_file(folder: Path, rows: int = 2_000) -> Path:
    lines = [LOYAL, *(loyal(number) for number in range(rows))]
    return write_csv(folder, *(",".join(line) for line in lines))


def test_declared_attributes_get_the_columns_of_their_name_and_type(tmp_path: Path) -> None:
    declared = Attributes(
        {
            "loyalty_tier": Attribute("text"),
            "basket": Attribute("number", unit="articles"),
            "colour": Attribute("number"),
            "device_score": Attribute("number"),
        }
    )
    path = loyal_file(tmp_path)
    text = suggest(path, FileRule(), declared)
    found = tomllib.loads(text)["attributes"]
    assert found == {
        "loyalty_tier": "LoyaltyTier",
        "basket": {"column": "Basket Items", "type": "number"},
    }
    assert "# colour: no column has its name and type" in text
    assert "# device_score: no column has its name and type" in text
    transactions = parsed(path, text)
    assert len(transactions) == 2_000
    by_id = {tx.transaction_id: tx.attributes for tx in transactions}
    assert by_id["o-1"] == {"loyalty_tier": "bronze", "basket": 2}


def test_columns_that_tell_fraud_are_proposed_with_what_they_tell(tmp_path: Path) -> None:
    text = suggest(loyal_file(tmp_path), FileRule())
    assert tomllib.loads(text)["attributes"] == {}
    assert '# loyalty_tier = "LoyaltyTier"' in text
    assert "100.0% of the rows are fraud where it is 'new', 2.50% of all" in text
    assert '# basket_items = { column = "Basket Items", type = "number" }' in text
    # chance, the row's number, and what is only known when the fraud is
    for name in ("colour", "noise", "row"):
        assert f"# {name} = " not in text
    assert "# Left out, because they seem to tell the outcome: disputed" in text


def test_what_is_proposed_can_be_taken_as_it_stands(tmp_path: Path) -> None:
    path = loyal_file(tmp_path)
    lines = suggest(path, FileRule()).splitlines()
    proposed = [line for line in lines if line.startswith("# ") and line.endswith(('"', "}"))]
    assert len(proposed) == 2
    taken = "\n".join(line[2:] if line in proposed else line for line in lines)
    report = report_of(path, taken)
    assert report.fit == 2_000 and not report.reasons


def test_without_labels_what_has_few_values_is_proposed_unmeasured(tmp_path: Path) -> None:
    rows = [[*line[:10], *line[12:]] for line in (LOYAL, *(loyal(number) for number in range(200)))]
    path = write_csv(tmp_path, *(",".join(line) for line in rows))
    text = suggest(path, FileRule())
    assert "too few labels here to measure it" in text
    assert '# colour = "colour"' in text and "3 different texts, such as 'red'" in text


@pytest.mark.parametrize("cell", ["x" * 65, "4111111111111111", "tab\there"])
def test_a_column_with_one_value_that_no_attribute_can_have_is_not_proposed(
    tmp_path: Path, cell: str
) -> None:
    lines = [LOYAL, *(loyal(number) for number in range(400))]
    lines[200][6] = cell
    path = write_csv(tmp_path, *(",".join(line) for line in lines))
    declared = Attributes({"loyalty_tier": Attribute("text")})
    assert tomllib.loads(suggest(path, FileRule(), declared))["attributes"] == {}


def test_a_file_without_a_header_gets_names_and_keeps_its_first_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "1,2026-01-01T10:00:00Z,12.50,203.0.113.7", "2,2026-01-02T10:00:00Z,7.25,203.0.113.8")  # fmt: skip
    text = suggest(path, FileRule())
    found = tomllib.loads(text)
    assert found["file"]["columns"] == ["column 1", "column 2", "column 3", "column 4"]
    assert "its first line is no header" in text
    first, _ = parsed(path, text)
    assert (first.amount_minor, first.ip, first.event_time.day) == (1250, "203.0.113.7", 1)


def test_numbers_that_a_program_gave_its_columns_are_names(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "0,1,2", "a,2026-01-01T10:00:00Z,1.5", "b,2026-01-02T10:00:00Z,2.5")
    assert "columns" not in fields_of(path).get("file", {})


def test_days_of_spreadsheets(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "id,Date,amount", *(f"{i},{46_204 + i / 2},{i}.50" for i in range(1, 40)))
    assert fields_of(path)["fields"]["event_time"]["epoch"] == {"unit": "d", "from": "1899-12-30T00:00:00"}
    assert str(parsed(path, suggest(path, FileRule()))[1].event_time) == "2026-07-02 00:00:00+00:00"


@pytest.mark.parametrize("honest", ["Not Fraud", "non-fraud", "not_fraudulent", "clean"])
def test_the_other_word_for_honest(tmp_path: Path, honest: str) -> None:
    path = write_csv(tmp_path, "id,amount,status fraud", f"1,1.5,{honest}", "2,2.5,Fraud", f"3,3.5,{honest}")
    assert fields_of(path)["label"] | {"delay_days": 7} == {
        "column": "status fraud", "fraud": "Fraud", "honest": honest, "delay_days": 7
    }  # fmt: skip


def test_words_that_may_mean_nothing_are_named(tmp_path: Path) -> None:
    lines = [f"{i},2026-01-01T10:00:00Z,c-{i},m,1.50,EUR,{'NULL' if i % 3 else f'd-{i}'},NA" for i in range(30)]  # fmt: skip
    path = write_csv(tmp_path, "id,time,card,merchant,amount,currency,device,country", *lines)
    text = suggest(path, FileRule())
    assert '# null = ["NULL"]  # 20 cells of device: take the # away if they mean no value' in text
    found = parsed(path, text)
    assert found[1].device_id == "NULL" and found[1].country == "NA"
    taken = text.replace("# null =", "null =")
    assert parsed(path, taken)[1].device_id is None and parsed(path, taken)[1].country == "NA"


@pytest.mark.parametrize(
    "before", [["Statement;of 2026", "made on 2026-02-01", ""], ["sep=;", "Statement of 2026"]]
)
def test_lines_before_the_header_are_left_out(tmp_path: Path, before: list[str]) -> None:
    rows = [f"{i};2026-01-{i:02d}T10:00:00Z;c;m;1,50;EUR" for i in range(1, 9)]
    path = write_csv(tmp_path, *before, "id;time;card;merchant;amount;currency", *rows, "total;12,00")
    text = suggest(path, FileRule())
    assert tomllib.loads(text)["file"] == {"separator": ";", "skip_lines": len(before)}
    assert [row["transaction_id"] for row in rows_of(path, text)] == [str(i) for i in range(1, 9)]
    (reason,) = report_of(path, text).to_json()["reasons"]
    assert (reason["row"], reason["value"]) == (9, "'total;12,00'")


def test_an_export_of_a_payment_provider(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "Date,Time,TimeZone,Type,Currency,Gross,Fee,Net,Transaction ID,Disputed",
        '01/13/2026,10:15:30 PM,PST,Payment,usd,"1,234.56",-36.10,"1,198.46",9AB12,false',
        "02/01/2026,01:00:00 AM,PDT,Payment,jpy,1000,-0.60,19.40,9AB13,true",
    )
    text = suggest(path, FileRule())
    found = tomllib.loads(text)
    assert found["fields"]["event_time"] == {
        "column": ["Date", "Time"], "template": "{} {}", "format": "%m/%d/%Y %I:%M:%S %p"
    }  # fmt: skip
    # not the fee, whose name says that it is none
    assert found["fields"]["amount_minor"] == {"column": "Gross", "thousands": ","}
    assert found["zone"] == {"column": "TimeZone", "map": {"PST": "-08:00", "PDT": "-07:00"}}
    first, second = parsed(path, text)
    assert first.event_time == datetime(2026, 1, 14, 6, 15, 30, tzinfo=UTC)
    assert (first.amount_minor, first.currency) == (123_456, "USD")
    assert second.event_time == datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert (second.amount_minor, second.currency) == (1_000, "JPY")
    assert found["label"]["column"] == "Disputed"


@pytest.mark.parametrize(
    ("header", "cells", "rule"),
    [
        ("tz", ["Europe/Paris", "America/New_York"], {"column": "tz"}),
        ("utc_offset", ["-5", "2"], {"column": "utc_offset"}),
        ("Zeitzone", ["+01:00", "UTC+2"], {"column": "Zeitzone"}),
        ("time_zone", ["Europe/Paris", "CEST"], {"column": "time_zone", "map": {"CEST": "+02:00"}}),
        # of a city, and what nobody knows
        ("zone", ["1", "2"], None),
        ("offset", ["810", "920"], None),
        ("timezone", ["Mars", "Venus"], None),
    ],
)  # fmt: skip
def test_the_column_of_zones_is_proposed(
    tmp_path: Path, header: str, cells: list[str], rule: dict[str, object] | None
) -> None:
    rows = [f"t{i},2026-01-01 10:00,c,m,1.00,EUR,{cell}" for i, cell in enumerate(cells)]
    path = write_csv(tmp_path, f"id,time,card,merchant,amount,currency,{header}", *rows)
    text = suggest(path, FileRule())
    assert tomllib.loads(text).get("zone") == rule
    assert ("nobody knows 'Mars'" in text) == ("Mars" in cells)
    assert "Of 2 rows, 2 are transactions" in text


HEADER = "id,time,card,merchant,amount,currency"


def plain_rows(count: int, **cells: str) -> list[str]:
    """Rows of HEADER; a cell that is given is that of every row."""
    plain = {
        "time": "2026-01-01T10:00:00Z",
        "card": "c",
        "merchant": "m",
        "amount": "1.50",
        "currency": "EUR",
    }
    return [",".join([f"t{i}", *(plain | cells).values()]) for i in range(count)]


@pytest.mark.parametrize(
    ("column", "values", "left_out"),
    [
        ("type", ["sale", "Refund", "sale"], ["Refund"]),
        ("Buchungsart", ["Kauf", "Gutschrift", "Storno"], ["Gutschrift", "Storno"]),
        ("direction", ["D", "C", "D"], ["C"]),
        ("CdtDbtInd credit_debit", ["DBIT", "CRDT", "DBIT"], ["CRDT"]),
        # of a card, what happened later, and what all are
        ("card_type", ["credit", "debit", "credit"], None),
        ("status", ["settled", "refunded", "reversed"], None),
        ("kind", ["refund", "refund", "refund"], None),
    ],
)  # fmt: skip
def test_refunds_that_a_column_tells_of_are_left_out(
    tmp_path: Path, column: str, values: list[str], left_out: list[str] | None
) -> None:
    rows = [f"{row},{value}" for row, value in zip(plain_rows(3), values, strict=True)]
    path = write_csv(tmp_path, f"{HEADER},{column}", *rows)
    text = suggest(path, FileRule())
    skip = tomllib.loads(text).get("skip")
    assert skip == (None if left_out is None else [{"column": column, "values": left_out}])
    payments = [i for i, value in enumerate(values) if value not in (left_out or ())]
    assert [row["transaction_id"] for row in rows_of(path, text)] == [f"t{i}" for i in payments]


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        # blank lines before the header
        (["", "  ", HEADER, *plain_rows(2)], ["t0", "t1"]),
        # a separator behind each row, which the header lacks
        ([HEADER, *(f"{row}," for row in plain_rows(2))], ["t0", "t1"]),
        # few rows, among lines that are none
        (["# export", "# of 2026", HEADER, *plain_rows(2), "# end"], ["t0", "t1"]),
        ([HEADER, *plain_rows(3), "Total,,,,4.50,"], ["t0", "t1", "t2"]),
        # codes of which one is none
        ([HEADER, *plain_rows(2), "t2,2026-01-01T10:00:00Z,c,m,1,XAU"], ["t0", "t1"]),
    ],
)  # fmt: skip
def test_what_stands_around_the_rows_does_not_hide_them(
    tmp_path: Path, lines: list[str], ids: list[str]
) -> None:
    path = write_csv(tmp_path, *lines)
    text = suggest(path, FileRule())
    assert [row["transaction_id"] for row in rows_of(path, text)] == ids
    report = report_of(path, text).to_json()
    assert report["refused"] == report["rows"] - len(ids) <= 1
    assert report["ignored_columns"] == []


def test_rows_that_are_all_longer_than_the_header_say_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path, HEADER, *(f"{i},{row}" for i, row in enumerate(plain_rows(30))))
    with pytest.raises(
        MappingError, match="no row that fits its header: row 1 has 7 cells where the header has 6"
    ):
        suggest(path, FileRule())


@pytest.mark.parametrize(
    "cell", ["13. Januar 2026 10:00", "/Date(1767261600000)/", "2026-01-13 10:00:00 CET"]
)
def test_a_time_that_cannot_be_read_is_named(tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path, HEADER, *plain_rows(3, time=cell))
    text = suggest(path, FileRule())
    assert f"# time seems to be the time, but {cell!r} is in no form known here" in text
    said = "every row has  event_time = '2020-01-01T00:00:00Z': the mapping says so, not the file"
    assert said in report_of(path, text).lines()


@pytest.mark.parametrize(
    ("cell", "right"),
    [("13/Jan/2026:10:00:00 +0100", "2026-01-13T09:00"), ("26-01-31 10:00", "2026-01-31T10:00"), ("2026-01-13T10:00:00+01:00[Europe/Paris]", "2026-01-13T09:00")],
)  # fmt: skip
def test_times_of_logs_and_of_java(tmp_path: Path, cell: str, right: str) -> None:
    path = write_csv(tmp_path, HEADER, *plain_rows(2, time=cell))
    assert {row["event_time"].isoformat()[:16] for row in rows_of(path, suggest(path, FileRule()))} == {right}


def test_a_column_of_dates_that_only_frauds_have_is_the_label(tmp_path: Path) -> None:
    rows = [f"{row},{'2026-02-01' if i % 20 == 0 else ''}" for i, row in enumerate(plain_rows(300))]
    path = write_csv(tmp_path, f"{HEADER},chargeback_date", *rows)
    text = suggest(path, FileRule())
    label = tomllib.loads(text)["label"]
    assert (label["column"], label["fraud"], label["honest"]) == ("chargeback_date", "*", "")
    assert report_of(path, text).labels == {"fraud": 15, "legit": 285, "none": 0}


def test_amounts_that_rounding_would_lose_are_not_rounded(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "id,time,value", "1,2026-01-01T10:00:00Z,0.0005", "2,2026-01-01T10:00:00Z,1.5")
    assert fields_of(path)["fields"]["amount_minor"] == "value"
    assert "Refused: 1 rows: amount_minor has a fraction of a minor unit" in suggest(path, FileRule())


def test_what_a_person_must_fill_in_stands_at_the_top(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "fraud_bool,customer_age,device_os", "1,50,windows", "0,20,linux")
    text = suggest(path, FileRule())
    assert "# To fill in, because nothing in the file looks like them: transaction_id, event_time, amount_minor, currency, card_id, merchant_id." in text.splitlines()  # fmt: skip
    assert "device_id" not in fields_of(path)["fields"]


@pytest.mark.parametrize(
    ("cell", "lost"),
    [("1.23E+15", True), ("4,11111E+15", True), ("1.5E+05X", False), ("12E5", False), ("1E10", False)],
)
def test_identifiers_that_a_spreadsheet_has_rounded_are_refused(
    tmp_path: Path, cell: str, lost: bool
) -> None:
    path = write_csv(tmp_path, HEADER, *plain_rows(1), *plain_rows(1, card=f'"{cell}"'))
    text = mapping_text('card_id = "card"')
    assert [row["card_id"] for row in rows_of(path, text)] == ["c"] + ([] if lost else [cell])
    if lost:
        (reason,) = report_of(path, text).to_json()["reasons"]
        assert (
            reason["reason"] == "card_id is a number that a spreadsheet has rounded: its last digits are lost"
        )
