"""The public events: what fits, what does not, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.transaction import epoch_ms, from_ms
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import parse_label
from streams.contracts.schema import schema
from streams.contracts.text.identifiers import identity_in
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import parse_together, parse_transaction, unknown_fields

GOOD: dict[str, Any] = {
    "transaction_id": "tx-8f1c", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR", "customer_id": None, "device_id": "d-5", "ip": "203.0.113.7", "mcc": "5411",
    "channel": "ecom", "country": "FR", "latitude": None, "longitude": None, "tenant": "default",
}  # fmt: skip


def raw(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_the_contract_s_own_example_fits_and_survives() -> None:
    tx = parse_transaction(raw())
    assert tx.event_ms == 1795256130123
    assert parse_transaction(encode(tx)) == tx


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"amount_minor": "1299"}, "field", "amount_minor"),
        ({"amount_minor": 12.5}, "field", "amount_minor"),
        ({"amount_minor": -1}, "field", "amount_minor"),
        ({"amount_minor": 2**40}, "field", "amount_minor"),
        ({"amount_minor": True}, "field", "amount_minor"),
        ({"event_time": "2026-11-21T10:15:30"}, "field", "event_time"),
        ({"event_time": "2019-11-31T10:15:30Z"}, "field", "event_time"),
        # a 60th second that no month ends with
        ({"event_time": "2016-12-31T12:59:60Z"}, "field", "event_time"),
        ({"event_time": "2016-12-31T23:59:60+01:00"}, "field", "event_time"),
        ({"event_time": "2016-12-30T23:59:60Z"}, "field", "event_time"),
        ({"event_time": "9999-12-31T23:59:60Z"}, "field", "event_time"),
        ({"currency": "eur"}, "field", "currency"),
        ({"currency": "ZZZ"}, "field", "currency"),
        ({"event_time": "1066-10-14T10:15:30Z"}, "event_time_range", "event_time"),
        ({"card_id": ""}, "field", "card_id"),
        ({"card_id": "c" * 65}, "field", "card_id"),
        ({"card_id": "a\nb"}, "unprintable", "card_id"),
        ({"card_id": "4111111111111111"}, "card_number", "card_id"),
        ({"device_id": "x 4111-1111-1111-1111"}, "card_number", "device_id"),
        ({"device_id": "1-4111111111111111"}, "card_number", "device_id"),
        ({"device_id": "term 7 4111111111111111"}, "card_number", "device_id"),
        ({"device_id": "4111.1111.1111.1111"}, "card_number", "device_id"),
        ({"device_id": "４１１１１１１１１１１１１１１１"}, "card_number", "device_id"),
        ({"device_id": "3782 822463 10005"}, "card_number", "device_id"),
        ({"merchant_id": "4111 \u2009 1111\u00a01111 1111"}, "unprintable", "merchant_id"),
        ({"merchant_id": "4111  1111 1111  1111"}, "card_number", "merchant_id"),
        ({"tenant": "4111_1111_1111_1111"}, "card_number", "tenant"),
        ({"transaction_id": "%34111111111111111"}, "card_number", "transaction_id"),
        ({"customer_id": "c\u202e42"}, "unprintable", "customer_id"),
        ({"tenant": "a\u00a0b"}, "unprintable", "tenant"),
        ({"mcc": "5\t41"}, "unprintable", "mcc"),
        ({"country": "F\u200b"}, "unprintable", "country"),
        ({"card_id": "   "}, "field", "card_id"),
        ({"ip": "999.1.1.1"}, "ip", "ip"),
        ({"ip": "203.0.113.07"}, "ip", "ip"),
        ({"ip": "fe80::1%eth0"}, "ip", "ip"),
        ({"ip": "shop"}, "ip", "ip"),
        ({"currency": "eur"}, "field", "currency"),
        ({"currency": "EURO"}, "field", "currency"),
        ({"channel": "pigeon"}, "field", "channel"),
        ({"latitude": 91}, "field", "latitude"),
        ({"country": "FRA"}, "field", "country"),
    ],
)
def test_what_does_not_fit_says_where_and_why(changes: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_transaction(raw(**changes))
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert "4111" not in str(caught.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_reason(value: bytes) -> None:
    for parse in (parse_transaction, parse_label):
        with pytest.raises(InvalidEvent) as caught:
            parse(value)
        assert caught.value.reason and str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.integers(), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3), max_leaves=8), st.sampled_from(sorted(GOOD)))  # fmt: skip
def test_any_value_in_any_field_parses_or_is_refused(value: Any, field: str) -> None:
    try:
        tx = parse_transaction(raw(**{field: value}))
    except InvalidEvent as error:
        assert error.reason
    else:
        assert parse_transaction(encode(tx)) == tx


OPTIONAL = ["customer_id", "device_id", "ip", "mcc", "channel", "country", "tenant"]


@pytest.mark.parametrize("field", OPTIONAL)
def test_an_empty_optional_text_is_no_value(field: str) -> None:
    tx = parse_transaction(raw(**{field: ""}))
    assert tx == parse_transaction(raw(**{field: None}))
    absent = json.dumps({name: value for name, value in GOOD.items() if name != field}).encode()
    assert tx == parse_transaction(absent)
    assert identity_in(raw(**{field: ""})) == identity_in(raw(**{field: None})) == tx.identity
    assert unknown_fields(raw(**{field: None, "x": 1}), tx) == ["x"]
    together = parse_together([raw(**{field: ""}), raw()])
    assert together is None or together.transactions == [tx, parse_transaction(raw())]
    assert unknown_fields(raw(**{field: ""}), tx) == []
    with pytest.raises(InvalidEvent) as refused:
        parse_transaction(raw(**{field: "", "card_id": ""}))
    assert refused.value.field == "card_id"


@pytest.mark.parametrize(
    ("sent", "utc"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31t23:59:60.25z", "2017-01-01T00:00:00.25Z"),
        ("2015-07-01T05:44:60+05:45", "2015-07-01T00:00:00Z"),
        ("2026-11-21t10:15:30.123456789z", "2026-11-21T10:15:30.123457Z"),
        ("2026-11-21T10:15:30.000000000-00:00", "2026-11-21T10:15:30Z"),
    ],
)
def test_every_time_of_rfc_3339_is_one(sent: str, utc: str) -> None:
    assert parse_transaction(raw(event_time=sent)).event_ms == parse_transaction(raw(event_time=utc)).event_ms
    label = parse_label(
        json.dumps({**LABEL, "event_time": sent, "label_time": "2026-12-01T00:00:00Z"}).encode()
    )
    assert epoch_ms(label.event_time) == parse_transaction(raw(event_time=utc)).event_ms


def test_unknown_fields_are_named() -> None:
    assert unknown_fields(raw(colour="red", size=3)) == ["colour", "size"]
    assert unknown_fields(raw()) == []


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"card_id": " card-42"}, {"card_id": "card-42"}),
        ({"card_id": "cafe\u0301", "tenant": "x "}, {"card_id": "caf\u00e9", "tenant": "x"}),
        ({"ip": "2001:DB8:0::1"}, {"ip": "2001:db8::1"}),
        ({"ip": "::ffff:203.0.113.7"}, {"ip": "203.0.113.7"}),
        ({"ip": ""}, {"ip": None}),
        # numbers of programs, which pass the check digit of cards or not
        ({"transaction_id": "1795256200005", "merchant_id": "9223372036854775807"}, {}),
    ],
)
def test_identifiers_and_addresses_are_stored_in_one_form(
    sent: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert parse_transaction(raw(**sent)) == parse_transaction(raw(**{**sent, **stored}))
    tx = parse_transaction(raw(**sent))
    assert {name: getattr(tx, name) for name in stored} == stored
    assert parse_transaction(encode(tx)) == tx


def test_a_transaction_is_equal_or_unequal_never_both() -> None:
    one, same, other = parse_transaction(raw()), parse_transaction(raw()), parse_transaction(raw(card_id="x"))
    assert (one == same, one != same, one == other, one != other) == (True, False, False, True)


@given(st.integers(0, 4_102_444_799_999))
def test_milliseconds_survive_the_way_to_a_moment_and_back(ms: int) -> None:
    assert epoch_ms(from_ms(ms)) == ms


def test_the_published_schema_is_the_one_in_code_and_accepts_the_example() -> None:
    published = json.loads(
        (Path(__file__).parents[3] / "streams" / "contracts" / "schemas" / "events.json").read_text()
    )
    assert published == schema()
    jsonschema.validate(GOOD, {**published, "$ref": "#/$defs/Transaction"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, "amount_minor": -1}, {**published, "$ref": "#/$defs/Transaction"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, "currency": "eur"}, {**published, "$ref": "#/$defs/Transaction"})


def test_an_unknown_field_whose_name_is_no_text_is_refused() -> None:
    broken = raw()[:-1] + b',"\xff\xfe":1}'
    assert parse_transaction(broken).card_id == "card-42"
    with pytest.raises(InvalidEvent) as caught:
        unknown_fields(broken)
    assert caught.value.reason == "not_utf8"


LABEL = {
    "transaction_id": "tx-1", "label": "fraud", "label_time": "2026-11-25T08:00:00Z", "source": "chargeback",
    "card_id": "card-42", "merchant_id": "m-9", "event_time": "2026-11-21T10:15:30Z",
}  # fmt: skip


@pytest.mark.parametrize("tenant", ["", None])
def test_a_label_without_a_tenant_is_the_default_ones(tenant: str | None) -> None:
    assert parse_label(json.dumps({**LABEL, "tenant": tenant}).encode()) == parse_label(
        json.dumps(LABEL).encode()
    )


def test_a_label_tells_of_the_past() -> None:
    assert parse_label(json.dumps(LABEL).encode()).label == "fraud"
    for change in ({"event_time": "9999-01-01T00:00:00Z"}, {"event_time": "2027-11-21T10:15:30Z"}):
        with pytest.raises(InvalidEvent):
            parse_label(json.dumps({**LABEL, **change}).encode())
