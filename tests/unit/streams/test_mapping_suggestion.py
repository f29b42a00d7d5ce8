"""A first mapping for a file never seen: right where the file shows it, and never one that does not parse."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.mapping import parse_mapping
from streams.mapping.definition import FileRule
from streams.mapping.suggestion import suggest
from tests.support.mapped_files import parsed, report_of, write_csv
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
