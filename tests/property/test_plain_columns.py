"""Features records read as columns are what they are by way of structs, bit for bit; what is not plain is left to structs."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.catalogue import CATALOGUE_HASH, WIDTH
from features.transaction import Transaction, from_ms
from streams.archive import tables as rows
from streams.archive.plain import plain_columns
from streams.log.other_catalogues import Layouts
from streams.log.records import FeatureRecord, decode_features, encode_features
from tests.support.archive_samples import START_MS, Record, features

ids = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=64)
moments = st.integers(946_684_800_000, 4_102_444_799_000)
transactions = st.builds(
    Transaction,
    transaction_id=ids,
    event_time=moments.map(from_ms),
    card_id=ids,
    merchant_id=ids,
    amount_minor=st.integers(0, 2**40 - 1),
    currency=st.sampled_from(["EUR", "PLN"]),
    customer_id=st.none() | ids,
    device_id=st.none() | ids,
    ip=st.none() | st.sampled_from(["203.0.113.7", "2001:db8::1"]),
    mcc=st.none() | st.sampled_from(["5411", ""]),
    channel=st.none() | st.sampled_from(["pos", "ecom"]),
    country=st.none() | st.just("FR"),
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
    tenant=st.sampled_from(["default", "banque-é"]),
)
counts = st.integers(0, 2**40)
as_of = st.tuples(*[st.integers(-1, 2**40)] * 5)
records = st.builds(
    FeatureRecord,
    catalogue=st.just(CATALOGUE_HASH),
    partition=st.integers(0, 300),
    offset=counts,
    appended_ms=counts,
    deadline_ms=st.integers(0, 70_000),
    missing=st.integers(0, 31),
    transaction=transactions,
    event_ms=moments,
    vector=st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).integers(0, 2**32, WIDTH, dtype="<u4").tobytes()
    ),
    as_of=as_of,
    decided=st.none() | st.binary(max_size=300),
    trace=st.none() | st.text(max_size=60),
    frauds_as_of=st.integers(-(2**33), 2**33),
    late_ms=counts,
)


replace = msgspec.structs.replace
ONE = decode_features(features(1).value or b"")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(records, min_size=1, max_size=8), st.integers(-1, 2**40))
def test_columns_are_what_structs_give(batch, last_source):
    values = [encode_features(record) for record in batch]
    assert plain_columns(values) is not None
    assert _same(*_both_ways(values, last_source))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(records, st.integers(0, 399), st.none() | st.integers(0, 255))
def test_no_bytes_are_misread(record, place, byte):
    """What is cut off or changed anywhere is left to structs, or is a record still, and then both read the same."""
    value = bytearray(encode_features(record))
    value[place:] = b"" if byte is None else bytes([byte]) + value[place + 1 :]
    if plain_columns([bytes(value)]) is not None:
        structs, plain = _both_ways([bytes(value)], -1)
        assert structs[0].num_rows == 1 and _same(structs, plain)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x90",
        encode_features([CATALOGUE_HASH] + [0] * 8),
        encode_features([*msgspec.structs.astuple(ONE)[:9]]),
        *(
            encode_features(replace(ONE, transaction=replace(ONE.transaction, **{name: text})))
            for name, text in [
                ("card_id", ""),
                ("card_id", "c" * 65),
                ("transaction_id", "é" * 65),
                ("tenant", ""),
                ("currency", "EURO"),
                ("currency", "€"),
                ("mcc", "54111"),
                ("country", "FRA"),
                ("country", "é"),
                ("ip", "1" * 46),
                ("channel", "zzz"),
                ("channel", ""),
                ("event_time", None),
                ("event_time", "x"),
                ("amount_minor", 1.5),
            ]
        ),
        *(
            encode_features(replace(ONE, **{name: value}))
            for name, value in [
                ("appended_ms", "x"),
                ("deadline_ms", None),
                ("as_of", None),
                ("as_of", (1, 2)),
                ("as_of", (1, 2, 3, 4, "5")),
                ("decided", 5),
                ("trace", 5),
                ("frauds_as_of", None),
                ("late_ms", None),
                ("missing", 1.0),
            ]
        ),
        # no UTF-8, and a moment that is none
        encode_features(replace(ONE, trace="zz")).replace(b"\xa2zz", b"\xa2\xff\xff"),
        encode_features(ONE).replace(b"event_time\xd7\xff", b"event_time\xd7\x01"),
        encode_features(ONE).replace(b"event_time\xd7\xff\x00", b"event_time\xd7\xff\xff"),
        encode_features(ONE).replace(b"\xaaevent_time", b"\xaaevent_tine"),
        encode_features(["other"] + [0] * 8),
        b"\xdd" + b"\xff" * 400,
        b"\x9e" + b"\xd9\xff",
    ],
)
def test_what_is_no_record_is_left_to_structs(value):
    assert plain_columns([value]) is None
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode_features(value or b"")


def test_which_of_two_values_counts_is_left_to_structs():
    value = encode_features(ONE).replace(b"\xa8latitude", b"\xa9longitude")
    assert plain_columns([value]) is None
    assert decode_features(value)


def test_the_record_that_these_spoil_is_plain():
    assert plain_columns([encode_features(ONE)]) is not None


def _both_ways(values: list[bytes], last_source: int) -> tuple[tuple[pa.Table, int], tuple[pa.Table, int]]:
    given_records = [Record("features", 0, k, START_MS + k, value) for k, value in enumerate(values)]
    layouts = Layouts(lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "plain_columns", lambda _: None)
        structs = rows.feature_table(given_records, lambda *_: None, last_source, layouts)
    return structs, rows.feature_table(given_records, lambda *_: None, last_source, layouts)


def _same(structs: tuple[pa.Table, int], plain: tuple[pa.Table, int]) -> bool:
    """NaN equals NaN only by its bits."""
    return structs[1] == plain[1] and _bits(structs[0]).equals(_bits(plain[0]))


def _bits(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if field.type == pa.float32():
            numbers = table.column(place).to_numpy()
            table = table.set_column(place, field.name, pa.array(numbers.view(np.uint32)))
    return table
