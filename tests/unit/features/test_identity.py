"""The identity of a transaction, one by one and in columns, and what a card's profile takes for the same payment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import INDEX
from features.identity import identities_of, identity_of
from features.identity_column import identity_column
from features.replay import replay
from features.transaction import from_ms

TENANTS = st.sampled_from(["default", "shop-a", "shop-b", "a", "shop"])
IDS = st.sampled_from(["1", "a1", "1001", "default", "shop-a", "-a1"])


@given(st.lists(st.tuples(TENANTS, IDS), max_size=8))
def test_columns_say_what_single_ones_say(pairs: list[tuple[str, str]]) -> None:
    tenants, ids = [t for t, _ in pairs], [i for _, i in pairs]
    single = [identity_of(tenant, name) for tenant, name in pairs]
    assert list(identities_of(tenants, ids)) == single
    table = pa.table({"transaction_id": pa.array(ids, pa.string()), "tenant": pa.array(tenants, pa.string())})
    assert identity_column(table).to_pylist() == single
    # two are one only if both parts are
    assert len(set(single)) == len(set(pairs))


def test_who_names_no_tenant_is_the_default_one() -> None:
    assert identity_of("default", "1001") == "1001"
    assert identity_column(pa.table({"transaction_id": ["1"]})).to_pylist() == ["1"]
    assert identity_column(
        pa.table({"transaction_id": ["1"], "tenant": pa.array([None], pa.string())})
    ).to_pylist() == ["1"]


def test_a_card_pays_twice_where_two_tenants_use_one_id() -> None:
    """Same card, time, amount and id: of two tenants they are two payments, of one tenant a repetition."""
    columns = {
        "transaction_id": ["1001"] * 4,
        "tenant": ["shop-a", "shop-b", "shop-a", "default"],
        "event_time": [from_ms(1_790_000_000_000)] * 4,
        "card_id": ["card-1"] * 4,
        "merchant_id": ["m-1"] * 4,
        "amount_minor": [500] * 4,
        "currency": ["EUR"] * 4,
    }
    rows = replay(pa.table(columns))
    assert rows[:, INDEX["card_count_1m"]].tolist()[:2] == [1, 2]
    assert np.isnan(rows[2]).all() and rows[3, INDEX["card_count_1m"]] == 3
