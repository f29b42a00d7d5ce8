"""Amounts, times and text of mapped files against the obvious conversions, one value at a time."""

from __future__ import annotations

import decimal
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.mapping.definition import FieldRule, FileRule
from streams.mapping.encoding import encode_transactions
from streams.mapping.fields.amounts import convert_amount
from streams.mapping.fields.moments import convert_time

CENTS = st.decimals(min_value=0, max_value=10_000_000, places=4)


@settings(deadline=None)
@given(amounts=st.lists(CENTS, min_size=1, max_size=30), exponent=st.integers(0, 3), as_text=st.booleans())
def test_amounts_round_half_to_even_on_the_digits_written(amounts, exponent, as_text) -> None:
    texts = [str(amount) for amount in amounts]
    column = pa.array(texts) if as_text else pa.array([float(text) for text in texts])
    rule = FieldRule(column="a", exponent=exponent, round="half_even")
    converted = convert_amount(rule, column, pa.repeat(pa.scalar("EUR"), len(amounts)), FileRule())
    expected = [
        int(decimal.Decimal(text).scaleb(exponent).to_integral_value(decimal.ROUND_HALF_EVEN))
        for text in texts
    ]
    assert converted.values.to_pylist() == expected
    assert not converted.unfit.any()


@settings(deadline=None)
@given(
    moments=st.lists(st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)), min_size=1, max_size=20),
    hours=st.integers(-12, 14),
)
def test_times_with_and_without_zone_are_the_same_moment(moments, hours) -> None:
    sign, shift = "+" if hours >= 0 else "-", timedelta(hours=hours)
    naive = [moment.isoformat() for moment in moments]
    zoned = [f"{(moment + shift).isoformat()}{sign}{abs(hours):02d}:00" for moment in moments]
    rule = FieldRule(column="t")
    expected = [m.replace(microsecond=m.microsecond // 1000 * 1000, tzinfo=UTC) for m in moments]
    assert convert_time(rule, [pa.array(naive)], "UTC", FileRule()).values.to_pylist() == expected
    assert convert_time(rule, [pa.array(zoned)], "Asia/Tokyo", FileRule()).values.to_pylist() == expected


@settings(deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    place=st.one_of(st.none(), st.floats(-90, 90, allow_nan=False)),
    amount=st.integers(0, 2**40 - 1),
)
def test_json_says_what_the_columns_say(text, place, amount) -> None:
    moment = datetime(2026, 11, 21, 10, 15, 30, 123000, tzinfo=UTC)
    table = pa.table({
        "event_time": pa.array([moment], pa.timestamp("ms", tz="UTC")), "transaction_id": [text], "card_id": ["c"],
        "merchant_id": [text], "amount_minor": [amount], "currency": ["EUR"], "ip": pa.array([None], pa.string()),
        "latitude": pa.array([place], pa.float64()),
    })  # fmt: skip
    (raw,) = encode_transactions(table)
    said = msgspec.json.decode(raw)
    assert said["event_time"] == "2026-11-21T10:15:30.123Z"
    assert (said["transaction_id"], said["merchant_id"], said["amount_minor"]) == (text, text, amount)
    assert said.get("latitude") == place and said.get("ip") is None
