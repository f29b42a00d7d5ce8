"""The same traffic as Kafka JSON, HTTP JSON, CSV in any dialect and Parquet gives the same transactions, field by field."""

from __future__ import annotations

import codecs
import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from features.attributes import Attribute, Attributes
from features.store.partitions import partitions_of
from features.transaction import Transaction
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits
from streams.contracts.tenants import Tenants
from streams.contracts.transaction_parsing import admitted, parse_transaction
from streams.processor.intake import sort_out
from tests.support.mapped_files import replayed

DECIMALS = {"EUR": 2, "JPY": 0, "KWD": 3}
TENANTS = Tenants(attributes=Attributes({"tier": Attribute("text"), "items": Attribute("number")}))
NOW_MS = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: printable in Latin-1 too, without blanks at the ends, never a card number
WORD = (
    st.text(st.sampled_from("abcXYZ019 -_.:;,|\"'#éß"), min_size=1, max_size=11).map(str.strip).filter(bool)
)
MAYBE_WORD = st.one_of(st.none(), WORD, st.sampled_from(["NA", "NULL", "null", "nan", "None", "true"]))
DEGREES = st.one_of(st.none(), st.floats(-90, 90).map(lambda place: round(place, 6) + 0.0))
PAYMENT = st.fixed_dictionaries(
    {
        "event_time": st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)).map(
            lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
        ),
        "card_id": WORD,
        "merchant_id": WORD,
        "amount_minor": st.integers(0, 2**40 - 1),
        "currency": st.sampled_from(list(DECIMALS)),
        "customer_id": MAYBE_WORD,
        "device_id": MAYBE_WORD,
        "ip": st.sampled_from(["203.0.113.7", "2001:DB8::1", "::ffff:0a00:0001", None]),
        "mcc": st.sampled_from(["5411", "0742", None]),
        "country": st.sampled_from(["NA", "FR", "fr", None]),
        "channel": st.sampled_from(["pos", "ecom", None]),
        "latitude": DEGREES,
        "longitude": DEGREES,
        "tier": MAYBE_WORD,
        "items": st.one_of(
            st.none(),
            st.integers(-(10**9), 10**9),
            st.floats(-1e6, 1e6).map(lambda number: round(number, 3) + 0.0),
        ),
    }
)
#: decimal sign and sign between thousands
NOTATIONS = [(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'")]
DIALECT = st.fixed_dictionaries(
    {
        "separator": st.sampled_from([",", ";", "|", "\t"]),
        "notation": st.sampled_from(NOTATIONS),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "ends": st.sampled_from(["\n", "\r\n"]),
        "packed": st.sampled_from([None, "gzip", "zstd"]),
        "zone": st.sampled_from(["UTC", "Asia/Tokyo", "Europe/Amsterdam", "America/New_York"]),
        "form": st.sampled_from([None, "%d-%m-%Y %H:%M:%S.%f", "%d/%m/%Y %H:%M:%S.%f%z", "ms"]),
        "stated": st.booleans(),
    }
)
#: how Parquet may hold times and amounts
TYPES = st.fixed_dictionaries(
    {
        "moment": st.sampled_from(["us", "ns", "zoned", "text"]),
        "amount": st.sampled_from(["text", "decimal", "double", "minor"]),
    }
)
TEXTS = ("transaction_id", "card_id", "merchant_id", "currency", "customer_id", "device_id", "ip", "mcc", "country", "channel")  # fmt: skip
OPTIONAL = TEXTS[4:]


class Record(NamedTuple):
    value: bytes
    offset: int
    partition: int
    headers: Any = ()
    topic: str = "transactions"
    timestamp: int = NOW_MS


def transaction_of(payment: dict[str, Any]) -> Transaction:
    """What every way must give: addresses and countries in their one form, attributes without those that are absent."""
    own = {name: payment[name] for name in ("tier", "items") if payment[name] is not None}
    fields = {name: value for name, value in payment.items() if name not in ("tier", "items")}
    same = {"2001:DB8::1": "2001:db8::1", "::ffff:0a00:0001": "10.0.0.1"}
    country = fields["country"] and fields["country"].upper()
    canonical = {"ip": same.get(fields["ip"], fields["ip"]), "country": country}
    return Transaction(**fields | canonical, attributes=own or UNSET)


def mapping_of(dialect: dict[str, Any], amount: str = "") -> str:
    form = dialect["form"]
    time = {None: '"event_time"', "ms": '{ column = "event_time", epoch = "ms" }'}.get(
        form, f'{{ column = "event_time", format = "{form}" }}'
    )
    same = "\n".join(f'{name} = "{name}"' for name in (*TEXTS, "latitude", "longitude"))
    stated = f"separator = '{dialect['separator']}'" if dialect["stated"] else ""
    encoding = 'encoding = "latin-1"' if dialect["encoding"] == "latin-1" else ""
    decimal, thousands = dialect["notation"]
    return (
        f'zone = "{dialect["zone"]}"\n[file]\ndecimal = "{decimal}"\nthousands = "{thousands}"\n{stated}\n{encoding}\n'
        f'[fields]\nevent_time = {time}\namount_minor = {{ column = "amount"{amount} }}\n{same}\n'
        '[attributes]\ntier = "tier"\nitems = { column = "items", type = "number" }\n'
    )


def major(payment: dict[str, Any]) -> Decimal:
    return Decimal(payment["amount_minor"]).scaleb(-DECIMALS[payment["currency"]])


def number_text(value: float | Decimal | None, dialect: dict[str, Any]) -> str:
    """A number in the dialect's notation, empty where there is none."""
    if value is None:
        return ""
    decimal, thousands = dialect["notation"]
    text = f"{Decimal(str(value)):,f}"
    return text.translate(str.maketrans({",": thousands, ".": decimal}))


def moment_text(moment: datetime, dialect: dict[str, Any]) -> str:
    """Local time of the zone; with its offset where clocks show it twice, and an hour that a file cannot say otherwise."""
    if dialect["form"] == "ms":
        return str(round(moment.timestamp() * 1000))
    local = moment.astimezone(ZoneInfo(dialect["zone"]))
    bare = local.replace(tzinfo=None, fold=0)
    twice = bare.replace(tzinfo=local.tzinfo).astimezone(UTC) != moment
    if dialect["form"] is None:
        return local.isoformat() if twice else bare.isoformat()
    return local.strftime(dialect["form"] + ("%z" if twice and "%z" not in dialect["form"] else ""))


HEADER = ["event_time", "amount", "latitude", "longitude", *TEXTS, "tier", "items"]


def cells_of(payment: dict[str, Any], dialect: dict[str, Any]) -> list[str]:
    numbers = [
        number_text(value, dialect) for value in (major(payment), payment["latitude"], payment["longitude"])
    ]
    texts = [payment[name] or "" for name in (*TEXTS, "tier")]
    return [
        moment_text(payment["event_time"], dialect), *numbers, *texts, number_text(payment["items"], dialect)
    ]  # fmt: skip


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


def write_typed(path: Path, payments: list[dict[str, Any]], types: dict[str, str], zone: str) -> None:
    columns: dict[str, Any] = {name: [payment[name] for payment in payments] for name in payments[0]}
    times = columns["event_time"]
    columns["event_time"] = {
        "us": lambda: pa.array(times, pa.timestamp("us", tz="UTC")),
        "ns": lambda: pa.array(times, pa.timestamp("us", tz="UTC")).cast(pa.timestamp("ns", tz="UTC")),
        "zoned": lambda: pa.array(times, pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("ms", tz=zone)),
        "text": lambda: [moment.isoformat() for moment in times],
    }[types["moment"]]()
    amounts = list(map(major, payments))
    columns["amount"] = {
        "text": lambda: list(map(str, amounts)),
        "decimal": lambda: pa.array(amounts, pa.decimal128(18, 3)),
        "double": lambda: pa.array(list(map(float, amounts))),
        "minor": lambda: pa.array(columns["amount_minor"], pa.int64()),
    }[types["amount"]]()
    columns["device_id"] = pa.array([value or "" for value in columns["device_id"]]).dictionary_encode()
    columns["items"] = pa.array(columns["items"], pa.float64())
    del columns["amount_minor"]
    columns["tier"] = pa.array(columns["tier"], pa.string())
    pq.write_table(pa.table(columns), path)


def _json(payment: dict[str, Any], empty: bool) -> bytes:
    """The payment as JSON; ``empty``: absent texts are empty ones in place of null."""
    fields = {name: value for name, value in payment.items() if name not in ("tier", "items")}
    own = {name: payment[name] for name in ("tier", "items")}
    if empty:
        fields |= {name: "" for name in OPTIONAL if payment[name] is None}
        own["tier"] = own["tier"] or ""
    return msgspec.json.encode({**fields, "attributes": own, "event_time": payment["event_time"].isoformat()})


def by_processor(values: list[bytes]) -> list[Transaction]:
    """What the processor takes from these records of `transactions`; together as a chunk, and one by one."""
    alone = [admitted(parse_transaction(value), TENANTS).transaction for value in values]
    homes = partitions_of([tx.card_id for tx in alone], 2)
    records = [Record(value, n, int(home)) for n, (value, home) in enumerate(zip(values, homes, strict=True))]
    assert list(sort_out(records, 2, 100, tenants=TENANTS).accepted.transactions) == alone
    return alone


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payments=st.lists(PAYMENT, min_size=1, max_size=8), dialect=DIALECT, types=TYPES)
def test_every_way_gives_the_same_transactions(
    tmp_path: Path, payments: list[dict[str, Any]], dialect: dict[str, Any], types: dict[str, str]
) -> None:
    payments = [{"transaction_id": f"t{i}", **payment} for i, payment in enumerate(payments)]
    raw = [_json(p, empty=dialect["stated"]) for p in payments]
    right = list(map(transaction_of, payments))

    assert by_processor(raw) == right

    edge = Intake(Limits(), TENANTS)
    assert [edge.one(value, NOW_MS, 100).transaction for value in raw] == right
    assert [entry.transaction for entry in edge.many(raw, NOW_MS, 100)] == right

    write_dialect(tmp_path / "same.csv", payments, dialect)
    assert by_processor(replayed(tmp_path / "same.csv", mapping_of(dialect))) == right

    write_typed(tmp_path / "same.parquet", payments, types, dialect["zone"])
    plain = {**dialect, "notation": (".", ""), "form": None}
    minor = ", exponent = 0" if types["amount"] == "minor" else ""
    assert by_processor(replayed(tmp_path / "same.parquet", mapping_of(plain, minor))) == right
