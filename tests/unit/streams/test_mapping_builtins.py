"""The built-in mappings on small made-up files with the public columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.transaction import Transaction
from streams.mapping import BUILTIN, ReplayFile, load_mapping
from tests.support.mapped_files import KEY, parsed, write_csv
from tests.support.public_files import FILES


def sent(folder: Path, name: str) -> list[Transaction]:
    return parsed(write_csv(folder, *FILES[name]), name)


def test_every_built_in_mapping_is_tried_somewhere() -> None:
    assert set(FILES) | {"handbook", "sparkov"} == set(BUILTIN)


def test_ulb(tmp_path: Path) -> None:
    first, second = sent(tmp_path, "ulb")
    assert (first.transaction_id, first.card_id, first.amount_minor, first.currency) == (
        "ulb-1",
        "ulb-card-1",
        14962,
        "EUR",
    )
    assert (second.event_time.isoformat(), second.amount_minor) == ("2013-09-02T03:46:40+00:00", 0)


def test_paysim(tmp_path: Path) -> None:
    first, second = sent(tmp_path, "paysim")
    assert (first.card_id, first.merchant_id, first.amount_minor, first.channel) == (
        "C1231006815",
        "M1979787155",
        983964,
        "pos",
    )
    assert (second.event_time.isoformat(), second.channel) == ("2018-01-02T01:00:00+00:00", "transfer")


def test_ieee_cis(tmp_path: Path) -> None:
    first, second = sent(tmp_path, "ieee-cis")
    assert (first.transaction_id, first.card_id, first.merchant_id, first.amount_minor) == (
        "ieee-2987000",
        "ieee-card-13926",
        "ieee-W",
        6850,
    )
    assert (second.event_time.isoformat(), second.amount_minor) == ("2017-12-02T00:00:01+00:00", 2912)


def test_tabformer(tmp_path: Path) -> None:
    first, second = sent(tmp_path, "tabformer")
    assert (first.transaction_id, first.card_id, first.amount_minor, first.channel, first.mcc) == (
        "tf-2",
        "tf-0-0",
        13409,
        "pos",
        "5300",
    )
    assert (second.event_time.isoformat(), second.channel) == ("2002-09-01T06:42:00+00:00", "ecom")
    assert first.merchant_id.startswith("tok-") and first.merchant_id != second.merchant_id


def test_ibm_aml(tmp_path: Path) -> None:
    first, second = sent(tmp_path, "ibm-aml")
    assert (first.card_id, first.merchant_id, first.amount_minor, first.currency) == (
        "03208:8000F4580",
        "01:8000F5340",
        1000,
        "JPY",
    )
    assert (second.amount_minor, second.currency, second.channel) == (369734, "USD", "transfer")


@pytest.mark.parametrize("name", FILES)
def test_one_fraud_and_the_rest_honest(tmp_path: Path, name: str) -> None:
    report = ReplayFile(write_csv(tmp_path, *FILES[name]), load_mapping(name), KEY).report
    assert report.labels == {"fraud": 1, "legit": 1, "none": 0}
