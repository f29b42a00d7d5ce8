"""Where cards meet, against the true windows: what the catalogue states as error holds, for payments in order and for late ones.

The oracle knows no tiles: it has all events, and the windows that the stated error allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import FEATURES, INDEX, WIDTH
from features.catalogue_texts import span
from features.kernels.columns import PAYMENT, text_hash
from features.kernels.shared_entity import (
    DECLINED,
    LABEL,
    PAID,
    apply_frauds,
    apply_items,
    fraud_features,
    shared_entity_features,
)
from features.profile.records import FRAUDS, SHARED_ENTITY, new_arena
from tests.support.oracle import DAY, HOUR, MINUTE

START = 1_700_000_000_000
WEEK, THIRD = 7 * DAY, 8 * HOUR


class Stated(NamedTuple):
    """What the catalogue says of an entry: window, tile, and how far behind the newest payment it is known, ms."""

    window: int
    tile: int
    kept: int


LATER = {
    "count_10m": Stated(10 * MINUTE, MINUTE, MINUTE),
    "count_1h": Stated(HOUR, 5 * MINUTE, 5 * MINUTE),
    "count_24h": Stated(DAY, HOUR, HOUR),
    "count_7d": Stated(WEEK, THIRD, 30 * DAY + THIRD),
    "count_30d": Stated(30 * DAY, THIRD, WEEK + THIRD),
    "sum_10m": Stated(10 * MINUTE, MINUTE, MINUTE),
    "sum_1h": Stated(HOUR, 5 * MINUTE, 5 * MINUTE),
    "sum_24h": Stated(DAY, HOUR, HOUR),
    "sum_7d": Stated(WEEK, DAY, 25 * DAY),
    "mean_30d": Stated(30 * DAY, DAY, 2 * DAY),
    "amount_ratio_mean_30d": Stated(30 * DAY, DAY, 2 * DAY),
}
EARLIER = {
    "count_1d_delayed": Stated(DAY, THIRD, 29 * DAY),
    "count_7d_delayed": Stated(WEEK, THIRD, 23 * DAY),
    "count_30d_delayed": Stated(30 * DAY, THIRD, THIRD),
    "fraud_rate_1d": Stated(DAY, THIRD, 29 * DAY),
    "fraud_rate_7d": Stated(WEEK, THIRD, 23 * DAY),
    "fraud_rate_30d": Stated(30 * DAY, THIRD, THIRD),
}
CARDS = {
    "cards_10m": Stated(10 * MINUTE, MINUTE, 10 * MINUTE),
    "cards_1h": Stated(HOUR, MINUTE, HOUR),
    "cards_24h": Stated(DAY, MINUTE, DAY),
    "cards_7d": Stated(WEEK, MINUTE, DAY),
}
BURST = {"burst_1h": Stated(HOUR, 5 * MINUTE, 5 * MINUTE)}


class Paid(NamedTuple):
    event_ms: int
    amount: int
    card: int
    fraud: bool


def inside(events: list[Paid], first: int, end: int) -> list[Paid]:
    """Events with first <= event_ms < end."""
    return [e for e in events if first <= e.event_ms < end]


def moved(events: list[Paid], t: int, window: int, tile: int) -> Iterator[list[Paid]]:
    """What is in (t - window, t] moved by 1 ms to a tile: every set that there is."""
    changes = {e.event_ms - t + 1 + back for e in events for back in (0, window)}
    for by in sorted({1, tile, *(c for c in changes if 0 < c <= tile)}):
        yield inside(events, t - window + by, t + by)


def moved_back(events: list[Paid], t: int, window: int, tile: int, lacking: bool) -> Iterator[list[Paid]]:
    """What is in the window that ended a week before ``t``, moved back by less than a tile; ``lacking``: or without its first tile."""
    end = t - WEEK
    changes = {end - e.event_ms - back for e in events for back in (0, window)}
    for by in sorted({0, tile - 1, *(c + k for c in changes for k in (0, 1) if 0 <= c + k < tile)}):
        yield inside(events, end - window - by, end - by)
        if lacking:
            yield inside(events, end - window - by + tile, end - by)


def ratio(amount: int, mean: float) -> float:
    return float(np.float32(np.float32(amount) / max(mean, 1.0)))


def mean_of(some: list[Paid]) -> float:
    return sum(e.amount for e in some) / len(some) if some else math.nan


def rate_of(some: list[Paid]) -> float:
    return sum(e.fraud for e in some) / len(some) if some else 0.0


def may_be(name: str, amount: int) -> Callable[[list[Paid]], float]:
    if name.startswith("count"):
        return len
    if name.startswith("sum"):
        return lambda some: sum(e.amount for e in some)
    if name.startswith("fraud"):
        return rate_of
    if name == "mean_30d":
        return mean_of
    return lambda some: ratio(amount, mean_of(some)) if some else math.nan


def is_one_of(got: float, values: list[float]) -> bool:
    return any(
        (math.isnan(want) and math.isnan(got)) or math.isclose(got, np.float32(want), rel_tol=2e-6) for want in values
    )  # fmt: skip


class Place:
    """One merchant, device or address, and all that came to it."""

    def __init__(self) -> None:
        self.arena = new_arena(SHARED_ENTITY, 1)
        self.events: list[Paid] = []

    def row(self, t: int, amount: int) -> dict[str, float]:
        payment = np.zeros(1, dtype=PAYMENT)
        payment["event_ms"] = t
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        row[0, INDEX["amount"]] = amount
        shared_entity_features(payment, np.array([[0, -1, -1]]), self.arena, row)
        names = [f.name for f in FEATURES if f.entity == "merchant"]
        return {name.removeprefix("merchant_"): float(row[0, INDEX[name]]) for name in names}

    def pay(self, paid: Paid) -> None:
        zero = np.zeros(1, np.int64)
        card = np.array([text_hash(f"card-{paid.card}")], dtype=np.uint32)
        moment = np.array([paid.event_ms])
        apply_items(zero, zero - 1, zero + PAID, moment, zero + paid.amount, card, zero, self.arena)
        if paid.fraud:
            apply_items(zero, zero - 1, zero + LABEL, moment, zero, card, zero + 1, self.arena)
        self.events.append(paid)

    def check(self, t: int, amount: int) -> set[str]:
        """Every entry of a payment at ``t`` against the true windows; returns which were unknown for being late."""
        row, events = self.row(t, amount), self.events
        behind = max([0, *(e.event_ms - t for e in events)])
        unknown = {name for name, stated in ALL.items() if self._is_unknown(name, stated, row[name], behind)}
        for name, stated in LATER.items():
            if name in unknown:
                continue
            values = [may_be(name, amount)(some) for some in moved(events, t, stated.window, stated.tile)]
            assert is_one_of(row[name], values), (name, row[name], values)
            if name.startswith(("count", "sum")):
                # in words: at most a tile's worth is missing, and nothing too much but what is later than the payment
                fewest = may_be(name, amount)(inside(events, t - stated.window + stated.tile + 1, t + 1))
                most = may_be(name, amount)(inside(events, t - stated.window + 1, t + stated.tile))
                assert np.float32(fewest) <= row[name] <= np.float32(most)
        for name, stated in EARLIER.items():
            if name not in unknown:
                lacking = "30d" in name and behind > 0
                some = moved_back(events, t, stated.window, stated.tile, lacking)
                values = [may_be(name, amount)(one) for one in some]
                assert is_one_of(row[name], values), (name, row[name], values)
        for name, stated in CARDS.items():
            if name not in unknown:
                self._check_cards(name, stated, row[name], t, behind)
        if "burst_1h" not in unknown:
            of_hour = {len(some) for some in moved(events, t, HOUR, 5 * MINUTE)}
            of_week = {len(some) for some in moved(events, t, WEEK, THIRD)}
            assert is_one_of(row["burst_1h"], [h / max(w / 168, 1.0) for h in of_hour for w in of_week])
        assert set(row) == set(ALL)
        return unknown

    def _is_unknown(self, name: str, stated: Stated, got: float, behind: int) -> bool:
        if behind >= stated.kept + stated.tile:
            assert math.isnan(got), (name, behind)
        if behind <= stated.kept:
            # nobody paid: there is no mean, which is no matter of being late
            assert not math.isnan(got) or "mean" in name, (name, behind)
            return False
        return math.isnan(got)

    def _check_cards(self, name: str, stated: Stated, got: float, t: int, behind: int) -> None:
        def cards(first: int, end: int) -> set[int]:
            return {e.card for e in inside(self.events, first, end)}

        first = t - stated.window + 1
        most = len(cards(first, t + MINUTE))
        if name == "cards_7d":
            # of a week behind the newest some may be forgotten
            first += behind
        fewest = len(cards(first + MINUTE, t + 1) - cards(t + 1, t + behind + 1))
        assert fewest <= got <= most, (name, fewest, got, most)


ALL = {**LATER, **EARLIER, **CARDS, **BURST}

apart = st.one_of(
    st.integers(0, 3 * MINUTE), st.integers(0, 20 * MINUTE), st.integers(0, 3 * HOUR), st.integers(0, 30 * HOUR),
    st.integers(0, 12 * DAY), st.sampled_from([0, MINUTE, 10 * MINUTE, HOUR, THIRD, DAY, WEEK, 30 * DAY]),
)  # fmt: skip
# six cards, no two of which share a bucket
payments = st.tuples(apart, st.integers(0, 10_000), st.integers(0, 5), st.booleans())


@settings(max_examples=80, deadline=None)
@given(st.lists(payments, max_size=60))
def test_in_order_every_entry_is_that_of_a_window_moved_by_a_tile(
    drawn: list[tuple[int, int, int, bool]],
) -> None:
    place, now = Place(), START
    for gap, amount, card, fraud in drawn:
        now += gap
        assert place.check(now, amount) == set()
        place.pay(Paid(now, amount, card, fraud))


@settings(max_examples=120, deadline=None)
@given(st.lists(payments, min_size=1, max_size=40), st.lists(st.tuples(apart, st.booleans()), max_size=6))
def test_later_events_first(drawn: list[tuple[int, int, int, bool]], backs: list[tuple[int, bool]]) -> None:
    """A late payment, and another that is late with it applied: inside the stated error of its true windows, or unknown."""
    place, now = Place(), START
    for gap, amount, card, fraud in drawn:
        now += gap
        place.pay(Paid(now, amount, card, fraud))
    for back, counts in backs:
        place.check(now - back, 700)
        if counts:
            place.pay(Paid(now - back, 700, 5, fraud=False))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(apart, payments, st.booleans()), max_size=40))
def test_any_disorder(drawn: list[tuple[int, tuple[int, int, int, bool], bool]]) -> None:
    place, newest = Place(), START
    for back, (gap, amount, card, fraud), late in drawn:
        moment = newest - back if late else newest + gap
        newest = max(newest, moment)
        place.check(moment, amount)
        place.pay(Paid(moment, amount, card, fraud))


def test_half_an_hour_late_what_is_gone_is_unknown_and_not_nothing() -> None:
    place, t = Place(), START // DAY * DAY + 12 * HOUR + 30
    for minute in range(40):
        place.pay(Paid(t + minute * MINUTE, 100, minute % 6, fraud=False))
    unknown = place.check(t + 10 * MINUTE, 100)
    assert unknown == {"count_10m", "sum_10m", "count_1h", "sum_1h", "burst_1h", "cards_10m"}
    assert place.row(t + 10 * MINUTE, 100)["count_24h"] == 40
    assert place.check(t + 39 * MINUTE - 1, 100) == set()


@pytest.mark.parametrize("name", ALL)
def test_the_catalogue_says_so(name: str) -> None:
    words = {MINUTE: "a minute", 5 * MINUTE: "5 minutes", HOUR: "an hour", THIRD: "8 hours", DAY: "a day"}
    for entity in ("merchant", "device", "ip"):
        (entry,) = [f for f in FEATURES if f.name == f"{entity}_{name}"]
        assert (1000 * entry.known_late_s, 1000 * entry.tile_s) == (ALL[name].kept, ALL[name].tile)
        assert f"up to {span(entry.known_late_s)} behind the newest" in entry.lateness
        if name not in BURST | CARDS:
            assert f"whole tiles of {words[1000 * entry.tile_s]} " in entry.error


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(apart, st.booleans(), st.booleans()), max_size=30))
def test_frauds_and_declines_of_a_payer(drawn: list[tuple[int, bool, bool]]) -> None:
    arena, now = new_arena(FRAUDS, 1), START
    known: dict[str, list[Paid]] = {"frauds_30d": [], "declined_1h": []}
    stated = {
        "frauds_30d": Stated(30 * DAY, DAY, 10 * DAY),
        "declined_1h": Stated(HOUR, 5 * MINUTE, 10 * MINUTE),
    }
    zero = np.zeros(1, np.int64)
    for gap, late, fraud in drawn:
        moment = now - gap if late else now + gap
        now = max(now, moment)
        payment = np.zeros(1, dtype=PAYMENT)
        payment["event_ms"] = moment
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        fraud_features(payment, np.array([[0, -1]]), arena, row)
        for name, events in known.items():
            _, tile, kept = stated[name]
            got = float(row[0, INDEX[f"card_{name}"]])
            behind = max([0, *(e.event_ms - moment for e in events)])
            assert not (behind >= kept + tile and not math.isnan(got)), (name, behind)
            assert not (behind <= kept and math.isnan(got)), (name, behind)
            if not math.isnan(got):
                assert got in [len(some) for some in moved(events, moment, stated[name].window, tile)]
        apply_frauds(
            zero, zero - 1, zero + (LABEL if fraud else DECLINED), np.array([moment]), zero + 1, arena
        )
        known["frauds_30d" if fraud else "declined_1h"].append(Paid(moment, 0, 0, fraud))
