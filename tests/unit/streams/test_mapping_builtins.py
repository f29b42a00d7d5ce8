"""The built-in mappings on small made-up files with the public columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.transaction import Transaction
from streams.mapping import BUILTIN, ReplayFile, load_mapping
from tests.support.mapped_files import KEY, parsed, write_csv

V = ",".join(f'"V{i}"' for i in range(1, 29))
ZEROS = ",".join("0.1" for _ in range(28))
FILES: dict[str, list[str]] = {
    "ulb": [f'"Time",{V},"Amount","Class"', f'0,{ZEROS},149.62,"0"', f'1e+05,{ZEROS},0,"1"'],
    "paysim": [
        "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud",
        "1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0",
        "25,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0",
    ],
    "ieee-cis": [
        "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,card2",
        "2987000,0,86400,68.5,W,13926,",
        "2987001,1,86401,29.125,C,2755,404.0",
    ],
    "tabformer": [
        "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?",
        "0,1,2002,9,1,06:42,$38.48,Online Transaction,-727612092139916043,ONLINE,,,5411,,Yes",
        "0,0,2002,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No",
        "0,0,2002,9,2,06:22,$-77.00,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No",
    ],
    "ibm-aml": [
        "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,Payment Currency,Payment Format,Is Laundering",
        "2022/09/01 00:20,010,8000EBD30,011,8000F5340,3697.34,US Dollar,3697.34,US Dollar,Wire,0",
        "2022/09/01 00:21,010,8000EBD30,012,8000F5341,0.01,Bitcoin,0.01,Bitcoin,Bitcoin,0",
        "2022/09/01 00:10,03208,8000F4580,01,8000F5340,0.5,Yen,1000.00,Yen,Cheque,1",
    ],
}  # fmt: skip


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
