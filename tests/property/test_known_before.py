"""What the kernel says of an entity without a payment, against the naive answer over its list of payments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import FEATURES, INDEX, NAMES
from features.engine import Places, Profiles, computed, known_before
from features.kernels.columns import columns_of
from features.kernels.shared_entity import PAID, apply_items
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from tests.support.oracle import DAY, HOUR, LOOKS_AT_THE_PAYMENT, WINDOWS, Event, deviation

START = 1_790_000_000_000

EVENTS = st.lists(
    st.builds(
        Event,
        transaction_id=st.uuids().map(str),
        card_id=st.just("card"),
        merchant_id=st.sampled_from(["m-1", "m-2", "m-3"]),
        event_ms=st.integers(0, 40 * DAY).map(lambda ms: START + ms),
        amount_minor=st.one_of(st.integers(0, 1000), st.integers(0, 2**24)),
        device_id=st.sampled_from([None, "d-1", "d-2"]),
        ip=st.just("203.0.113.7"),
        customer_id=st.just("customer"),
        country=st.sampled_from([None, "FR", "DE"]),
        channel=st.sampled_from([None, "pos", "ecom"]),
        mcc=st.sampled_from([None, "5411", "6011"]),
        latitude=st.just(48.8),
        longitude=st.just(2.3),
    ),
    max_size=30,
    unique_by=lambda event: (event.event_ms, event.amount_minor),
)


def naive(events: list[Event], t: int) -> dict[str, float]:
    """Entries of a card or customer at ``t``, of all its payments in order of arrival."""
    past = [p for p in events if p.event_ms <= t]
    out: dict[str, float] = dict.fromkeys(LOOKS_AT_THE_PAYMENT, math.nan)
    for name, width in WINDOWS.items():
        amounts = [p.amount_minor for p in past if p.event_ms > t - width]
        out[f"count_{name}"], out[f"sum_{name}"] = len(amounts), sum(amounts)
        out[f"mean_{name}"] = sum(amounts) / len(amounts) if amounts else math.nan
        out[f"max_{name}"] = max(amounts) if amounts else math.nan
        out[f"std_{name}"] = deviation(amounts) if amounts else math.nan
    for name in ("1h", "24h", "7d"):
        inside = [p for p in past if p.event_ms > t - WINDOWS[name]]
        out[f"merchants_{name}"] = len({p.merchant_id for p in inside})
        out[f"countries_{name}"] = len({p.country for p in inside} - {None})
        out[f"devices_{name}"] = len({p.device_id for p in inside} - {None})
    out["small_run_1h"] = sum(p.amount_minor <= 500 and p.event_ms > t - HOUR for p in past)
    out["seconds_since_last"] = min(t - p.event_ms for p in past) / 1000 if past else math.nan
    out["age_days"] = max(0, t - min((p.event_ms for p in events), default=t)) / DAY
    known = len(events) >= 5 and all(p.event_ms <= t for p in events)
    same_hour = sum(p.event_ms // HOUR % 24 == t // HOUR % 24 for p in events)
    out["hour_share"] = same_hour / len(events) if known else math.nan
    return {**out, "frauds_30d": 0.0, "declined_1h": 0.0}


def world(events: list[Event]) -> Profiles:
    """The profiles of one card, customer, merchant, device and address after these payments."""
    profiles = Profiles(
        new_arena(PAYER, 1), new_arena(PAYER, 1), new_arena(SHARED_ENTITY, 3), new_arena(FRAUDS, 2)
    )
    for event in events:
        columns = columns_of([event], [event.event_ms], [-1])  # type: ignore[list-item]
        nowhere = Places(np.array([0]), np.array([-1]), np.full((1, 3), -1), np.full((1, 2), -1))
        # each holder's own payments, by the kernel that serves
        for arena in (profiles.cards, profiles.customers):
            computed(columns, nowhere, profiles._replace(cards=arena), apply=True)
        for slot in range(3):
            one = np.array([event.event_ms]), np.array([event.amount_minor])
            apply_items(
                np.array([slot]), np.array([-1]), np.array([PAID]), *one, np.array([7], np.uint32), np.zeros(1, np.int64),
                profiles.shared_entities,
            )  # fmt: skip
    return profiles


HERE = Places(np.array([0]), np.array([0]), np.array([[0, 1, 2]]), np.array([[0, 1]]))


def answer(profiles: Profiles, t: int) -> Any:
    return known_before(np.array([t]), HERE, profiles)[0]


@given(EVENTS, st.integers(0, 75 * DAY))
def test_a_card_and_a_customer_are_what_their_payments_say(events: list[Event], after: int) -> None:
    t = START + after
    row, wanted = answer(world(events), t), naive(events, t)
    for entity in ("card", "customer"):
        names = [feature.name for feature in FEATURES if feature.entity == entity]
        assert {name.removeprefix(f"{entity}_") for name in names} == set(wanted)
        for name, value in wanted.items():
            got = row[INDEX[f"{entity}_{name}"]]
            close = name.startswith("std") and math.isclose(got, value, rel_tol=1e-6, abs_tol=1e-3)
            assert close or np.array_equal(got, np.float32(value), equal_nan=True), (name, got, value)


@given(EVENTS.filter(bool), st.integers(0, 20 * DAY), st.integers(0, 2**24))
def test_a_payment_finds_what_was_known_before_it(events: list[Event], after: int, amount: int) -> None:
    """What does not look at a payment is served with it as it was said before; its windows hold it besides."""
    t = max(event.event_ms for event in events) + after
    profiles = world(events)
    before = answer(profiles, t)
    event = Event("next", "card", "m-1", t, amount, "d-1", "203.0.113.7", "customer", "FR", "pos", "5411")
    served, _ = computed(columns_of([event], [t], [-1]), HERE, profiles, apply=False)  # type: ignore[list-item]
    holders = ("card", "customer")
    for feature in FEATURES:
        column, name = INDEX[feature.name], feature.name.removeprefix(f"{feature.entity}_")
        was, now = before[column], served[0, column]
        if feature.entity == "transaction":
            assert np.isnan(was)
        elif name in LOOKS_AT_THE_PAYMENT:
            assert np.isnan(was), feature.name
        elif feature.entity in holders and name.startswith("count_"):
            assert now == was + 1
        elif feature.entity in holders and name.startswith("max_"):
            assert now == np.nanmax([was, np.float32(amount)])
        elif feature.entity in holders and name.startswith(
            ("merchants_", "countries_", "devices_", "small_")
        ):
            assert now - was in (0, 1)
        elif not (feature.entity in holders and name.startswith(("sum_", "mean_", "std_"))):
            assert np.array_equal(was, now, equal_nan=True), feature.name


def test_nobody_is_an_empty_profile() -> None:
    """As the model sees it: counts are 0, and what needs a past is unknown."""
    row = answer(world([]), START)
    known = {name: float(row[INDEX[name]]) for name in NAMES if not np.isnan(row[INDEX[name]])}
    assert set(known.values()) == {0.0}
    assert {"card_count_1h", "card_sum_30d", "merchant_count_10m", "ip_cards_7d", "customer_age_days"} <= set(
        known
    )
    assert not {"card_mean_1h", "card_seconds_since_last", "device_mean_30d"} & set(known)


def test_the_state_stays_as_it_is() -> None:
    profiles = world([Event(f"t{i}", "card", "m-1", START + i * HOUR, 100 + i) for i in range(9)])
    copies = [arena.tobytes() for arena in profiles]
    answer(profiles, START + DAY)
    assert [arena.tobytes() for arena in profiles] == copies
