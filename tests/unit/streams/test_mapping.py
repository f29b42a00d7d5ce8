"""Mappings: built in ones on the real files, ten lines for a dirty one, and what is refused before anything is sent."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import parse_label
from streams.contracts.text.card_numbers import find_card_number
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping import MappingError, ReplayFile, load_history, load_mapping, parse_mapping
from streams.mapping.tokens import card_token, load_or_create_key

DATA = Path(__file__).parents[3].parent / "shared" / "data"
DIRTY = Path(__file__).parents[2] / "support" / "dirty.toml"
KEY = b"k" * 32
SMALL = b"""
zone = "Europe/Paris"
[fields]
transaction_id = "id"
event_time = "at"
card_id = "card"
merchant_id = { constant = "shop" }
amount_minor = { column = "amount", exponent = 2, round = "half_even" }
currency = { constant = "EUR" }
channel = { column = "entry", map = { C = "pos", E = "ecom" } }
[label]
column = "bad"
fraud = "Y"
delay_days = 1.5
legit = false
"""


def needs(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine (public data that the project does not ship)")
    return path


def small_csv(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "small.csv"
    path.write_text("\n".join(["id,at,card,amount,entry,bad,unused", *rows]) + "\n")
    return path


def replayed(file: ReplayFile) -> list[bytes]:
    return [value for records in file.transactions(7) for value in records.values]


def test_handbook_whole_file() -> None:
    history = load_history(needs("handbook_transactions.parquet"), load_mapping("handbook"))
    assert history.num_rows == 919_451
    assert pc.sum(pc.equal(history["label"], "fraud")).as_py() == 8_143
    first = history.slice(0, 1).to_pylist()[0]
    assert (first["transaction_id"], first["card_id"], first["amount_minor"]) == (
        "hb-585177",
        "hb-card-852",
        16_364,
    )
    assert (first["label_time"] - first["event_time"]).days == 7


def test_sparkov_card_numbers_never_show() -> None:
    file = ReplayFile(needs("sparkov_transactions.parquet"), load_mapping("sparkov"), KEY, limit=3_000)
    values = replayed(file)
    assert len(values) == 3_000 and file.unfit == 0
    for raw in values:
        tx = parse_transaction(raw)
        assert tx.card_id.startswith("tok-") and tx.mcc and tx.latitude is not None


def test_dirty_rows_go_on_as_sent_and_are_refused_for_their_date() -> None:
    file = ReplayFile(needs("dirty_transactions.parquet"), load_mapping(DIRTY), KEY)
    assert (file.rows, file.unfit) == (3_199, 152)
    reasons: Counter[tuple[str, str]] = Counter()
    devices = 0
    for raw in replayed(file):
        try:
            devices += parse_transaction(raw).device_id is None
        except InvalidEvent as error:
            assert b"2019-11-31" in raw
            reasons[error.reason, error.field] += 1
    assert reasons == {("field", "event_time"): 152}
    assert devices > 700


def test_small_csv_times_amounts_labels(tmp_path: Path) -> None:
    path = small_csv(
        tmp_path,
        "007,2026-10-25T02:30:00,c1,1.005,C,Y,x",
        "008,2026-03-29 02:30:00.5,c1,2.675,E,N,x",
        "009,2026-07-01T12:00:00Z,c2,0.1,,,x",
    )
    rows = load_history(path, parse_mapping(SMALL, "small")).to_pylist()
    assert [r["transaction_id"] for r in rows] == ["007", "008", "009"]
    # 02:30 comes twice that night: the first one, still summer time; 02:30 in March never comes: the moment clocks jump
    assert rows[0]["event_time"] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert rows[1]["event_time"] == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert rows[2]["event_time"] == datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    # half to even, on the decimal digits that were written
    assert [r["amount_minor"] for r in rows] == [100, 268, 10]
    assert [r["channel"] for r in rows] == ["pos", "ecom", None]
    assert [r["label"] for r in rows] == ["fraud", None, None]
    assert rows[0]["label_time"] == datetime(2026, 10, 26, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("1,2026-02-30T00:00:00,c,1,C,N,", "event_time"),
        ("1,,c,1,C,N,", "event_time"),
        ("1,1814-01-01T00:00:00Z,c,1,C,N,", "event_time"),
        ("1,2026-02-20T00:00:00Z,c,-1,C,N,", "amount_minor"),
        ("1,2026-02-20T00:00:00Z,c,ten,C,N,", "amount_minor"),
        ("1,2026-02-20T00:00:00Z,c,1e300,C,N,", "amount_minor"),
        ("1,2026-02-20T00:00:00Z,,1,C,N,", "card_id"),
        (f"{'x' * 65},2026-02-20T00:00:00Z,c,1,C,N,", "transaction_id"),
    ],
)
def test_a_row_that_is_no_transaction_is_refused_by_the_contract_not_repaired(
    tmp_path: Path, row: str, field: str
) -> None:
    path = small_csv(tmp_path, "0,2026-02-20T00:00:00Z,c,1,C,Y,", row)
    mapping = parse_mapping(SMALL, "small")
    assert load_history(path, mapping).num_rows == 1
    good, bad = replayed(ReplayFile(path, mapping, KEY))
    parse_transaction(good)
    with pytest.raises(InvalidEvent) as refused:
        parse_transaction(bad)
    assert refused.value.field == field


def test_labels_are_given_when_their_time_has_come_and_once(tmp_path: Path) -> None:
    path = small_csv(tmp_path, *(f"{i},2026-01-{i:02d}T00:00:00Z,c,1,C,Y," for i in range(1, 10)))
    file = ReplayFile(path, parse_mapping(SMALL, "small"), KEY)
    seen: list[str] = []
    for records in file.transactions(1):
        for raw in file.labels_until(records.clock_ms).values:
            label = parse_label(raw)
            assert label.label_time.timestamp() * 1000 <= records.clock_ms
            seen.append(label.transaction_id)
    assert seen == [str(i) for i in range(1, 8)]
    assert [parse_label(raw).transaction_id for raw in file.labels_until(None).values] == ["8", "9"]
    assert file.labels_until(None).values == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((b'column = "bad"', b'column = "chargeback"'), "no column chargeback; it has id, at"),
        ((b'card_id = "card"', b'card_id = { column = ["id", "card"] }'), "template of card_id"),
        ((b'card_id = "card"', b'kard_id = "card"'), "no field kard_id"),
        ((b'card_id = "card"', b""), "required fields without a rule: card_id"),
        ((b"Europe/Paris", b"Europe/Nowhere"), "no time zone"),
        ((b'constant = "EUR"', b'konstant = "EUR"'), "konstant"),
        ((b"[fields]", b"[fields"), "small"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, change: tuple[bytes, bytes], text: str) -> None:
    path = small_csv(tmp_path, "1,2026-02-20T00:00:00Z,c,1,C,N,")
    with pytest.raises(MappingError, match=text):
        load_history(path, parse_mapping(SMALL.replace(*change), "small"))


def test_no_file_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no mapping"):
        load_mapping(tmp_path / "none.toml")
    with pytest.raises(MappingError, match="cannot be read"):
        load_history(tmp_path / "none.parquet", load_mapping("handbook"))


def test_tokens_hold_no_digits_and_depend_on_the_key(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    assert load_or_create_key(tmp_path) == key and len(key) == 32
    assert (tmp_path / "card-hmac.key").stat().st_mode & 0o077 == 0
    tokens = {card_token(str(4_000_000_000_000_000 + i), key) for i in range(500)}
    assert len(tokens) == 500 and not any(any(c.isdigit() for c in t) or find_card_number(t) for t in tokens)
    assert card_token("4111111111111111", key) != card_token("4111111111111111", KEY)


def test_quotes_and_control_characters_survive(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    odd = 'a"b\\c\u00e9\u4e2d'
    table = {"id": [odd, "2"], "at": ["2026-02-20T00:00:00Z"] * 2, "card": ["c\tq", "c"], "amount": [1.0] * 2}
    pq.write_table(pa.table({**table, "entry": ["C"] * 2, "bad": ["Y"] * 2}), path)
    value, _ = replayed(ReplayFile(path, parse_mapping(SMALL, "small"), KEY))
    with pytest.raises(InvalidEvent, match="unprintable"):
        parse_transaction(value)
    assert f'"transaction_id":"{odd}"'.encode() in value.replace(b'\\"', b'"').replace(b"\\\\", b"\\")
