"""The same traffic as Kafka JSON, HTTP JSON, CSV in any dialect and Parquet gives the same transactions, field by field."""

from __future__ import annotations

import codecs
import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.transaction import Transaction
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits
from streams.contracts.tenants import ANY_TENANT
from streams.contracts.transaction_parsing import parse_together, parse_transaction
from tests.support.mapped_files import parsed

DECIMALS = {"EUR": 2, "JPY": 0, "KWD": 3}
#: printable in Latin-1 too, without blanks at the ends, never a card number
WORD = (
    st.text(st.sampled_from("abcXYZ019 -_.:;,|\"'#éß"), min_size=1, max_size=11).map(str.strip).filter(bool)
)
MAYBE_WORD = st.one_of(st.none(), WORD, st.sampled_from(["NA", "NULL", "null", "nan", "None", "true"]))
PAYMENT = st.fixed_dictionaries(
    {
        "event_time": st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)).map(
            lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
        ),
        "card_id": WORD,
        "merchant_id": WORD,
        "amount_minor": st.integers(0, 2**40 - 1),
        "currency": st.sampled_from(list(DECIMALS)),
        "device_id": MAYBE_WORD,
        "country": st.sampled_from(["NA", "FR", None]),
        "channel": st.sampled_from(["pos", "ecom", None]),
        "latitude": st.one_of(st.none(), st.floats(-90, 90).map(lambda place: round(place, 6) + 0.0)),
    }
)
DIALECT = st.fixed_dictionaries(
    {
        "separator": st.sampled_from([",", ";", "|", "\t"]),
        "decimal": st.sampled_from([".", ","]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "ends": st.sampled_from(["\n", "\r\n"]),
        "packed": st.sampled_from([None, "gzip", "zstd"]),
        "zone": st.sampled_from(["UTC", "Asia/Tokyo"]),
        "form": st.sampled_from([None, "%d-%m-%Y %H:%M:%S.%f", "%d/%m/%Y %H:%M:%S.%f%z"]),
        "stated": st.booleans(),
    }
)


def mapping_of(dialect: dict[str, Any]) -> str:
    form = dialect["form"]
    time = '"event_time"' if form is None else f'{{ column = "event_time", format = "{form}" }}'
    same = "\n".join(f'{n} = "{n}"' for n in ("transaction_id", "card_id", "merchant_id", "currency", "device_id", "country", "channel", "latitude"))  # fmt: skip
    stated = f"separator = '{dialect['separator']}'" if dialect["stated"] else ""
    encoding = 'encoding = "latin-1"' if dialect["encoding"] == "latin-1" else ""
    return (
        f'zone = "{dialect["zone"]}"\n[file]\ndecimal = "{dialect["decimal"]}"\n{stated}\n{encoding}\n'
        f'[fields]\nevent_time = {time}\namount_minor = "amount"\n{same}\n'
    )


def amount_text(payment: dict[str, Any], decimal: str) -> str:
    places = DECIMALS[payment["currency"]]
    digits = str(payment["amount_minor"]).rjust(places + 1, "0")
    return digits[:-places] + decimal + digits[-places:] if places else digits


def cells_of(payment: dict[str, Any], dialect: dict[str, Any]) -> list[str]:
    moment = payment["event_time"].astimezone(ZoneInfo(dialect["zone"]))
    form = dialect["form"]
    bare = moment.replace(tzinfo=None).isoformat() if form is None else moment.strftime(form)
    place = (
        ""
        if payment["latitude"] is None
        else format(payment["latitude"], ".6f").replace(".", dialect["decimal"])
    )
    rest = [
        payment[n] or "" for n in ("card_id", "merchant_id", "currency", "device_id", "country", "channel")
    ]
    return [payment["transaction_id"], bare, amount_text(payment, dialect["decimal"]), place, *rest]


HEADER = [
    "transaction_id",
    "event_time",
    "amount",
    "latitude",
    "card_id",
    "merchant_id",
    "currency",
    "device_id",
    "country",
    "channel",
]


def write_dialect(path: Path, payments: list[dict[str, Any]], dialect: dict[str, Any]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=dialect["separator"], quoting=dialect["quoting"], lineterminator=dialect["ends"]
    )
    writer.writerows([HEADER, *(cells_of(payment, dialect) for payment in payments)])
    raw = codecs.encode(text.getvalue(), dialect["encoding"])
    if dialect["packed"] is None:
        path.write_bytes(raw)
        return
    with pa.CompressedOutputStream(str(path), dialect["packed"]) as out:
        out.write(raw)


def write_typed(path: Path, payments: list[dict[str, Any]]) -> None:
    columns: dict[str, Any] = {name: [payment[name] for payment in payments] for name in payments[0]}
    columns["event_time"] = pa.array(columns["event_time"], pa.timestamp("us", tz="UTC"))
    columns["amount"] = [amount_text(payment, ".") for payment in payments]
    columns["device_id"] = pa.array([value or "" for value in columns["device_id"]]).dictionary_encode()
    del columns["amount_minor"]
    pq.write_table(pa.table(columns), path)


def _json(payment: dict[str, Any], empty: bool) -> bytes:
    """The payment as JSON; ``empty``: absent texts are empty ones in place of null."""
    texts = dict.fromkeys(("device_id", "country", "channel"), "") if empty else {}
    absent = {name: text for name, text in texts.items() if payment[name] is None}
    return msgspec.json.encode({**payment, **absent, "event_time": payment["event_time"].isoformat()})


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payments=st.lists(PAYMENT, min_size=1, max_size=8), dialect=DIALECT)
def test_every_way_gives_the_same_transactions(
    tmp_path: Path, payments: list[dict[str, Any]], dialect: dict[str, Any]
) -> None:
    payments = [{"transaction_id": f"t{i}", **payment} for i, payment in enumerate(payments)]
    raw = [_json(p, empty=dialect["stated"]) for p in payments]
    right = [Transaction(**payment) for payment in payments]

    assert [parse_transaction(value) for value in raw] == right
    together = parse_together(raw)
    assert together is None or together.transactions == right

    edge = Intake(Limits(), ANY_TENANT)
    now_ms = datetime(2099, 1, 1, tzinfo=UTC).timestamp() * 1000
    assert [edge.one(value, now_ms, 100).transaction for value in raw] == right

    write_dialect(tmp_path / "same.csv", payments, dialect)
    assert parsed(tmp_path / "same.csv", mapping_of(dialect)) == right

    write_typed(tmp_path / "same.parquet", payments)
    assert parsed(tmp_path / "same.parquet", mapping_of({**dialect, "decimal": ".", "form": None})) == right
