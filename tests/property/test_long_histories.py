"""Payers who paid more often than is kept whole: old payments, groups, tables that are full, counts that halve.

Against the naive oracle: what is exact bit for bit, the rest inside the error that the catalogue states.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import FEATURES, INDEX, WIDTH
from features.kernels.columns import columns_of
from features.kernels.payer import (
    APPLY,
    CARD_COLUMNS,
    DUPLICATE,
    NEW,
    POSSIBLE,
    READ,
    apply_payments,
    payer_features,
)
from features.profile.records import COUNTRIES, DEVICES, MERCHANTS, OLD, PAYER, RECENT, new_arena
from tests.support.oracle import DAY, HOUR, MINUTE, WINDOWS, Event, Payer
from tests.support.oracle_agreement import START, agrees

MONTH = 31 * DAY
TABLES = {"merchant": MERCHANTS, "device": DEVICES, "country": COUNTRIES}


class Phase(NamedTuple):
    """Some payments in a row: how many, how far apart at most, how many of 10 are late, repeated, or like another one."""

    payments: int
    apart_ms: int
    late: int
    repeated: int
    like: int


phases = st.builds(
    Phase, st.integers(1, 90), st.sampled_from([0, 2, MINUTE, 3 * HOUR, 10 * HOUR, 3 * DAY]),
    st.integers(0, 3), st.integers(0, 1), st.integers(0, 1),
)  # fmt: skip


def events_of(drawn: list[Phase], seed: int, most: int = 180) -> list[Event]:
    """Of one card, in order of arrival."""
    chance, now = random.Random(seed), START
    huge = chance.randrange(4) == 0
    out: list[Event] = []
    for phase in drawn:
        for _ in range(min(phase.payments, most - len(out))):
            kind = chance.randrange(10)
            if out and kind < phase.repeated:
                out.append(chance.choice(out))
                continue
            now += chance.randint(0, phase.apart_ms)
            moment, amount = now, chance.choice([chance.randrange(2_000), 500, chance.randrange(20_000)])
            if huge and chance.randrange(20) == 0:
                amount = 10**12 - chance.randrange(9)
            if chance.randrange(10) < phase.late:
                # among what is kept, a little further than that, or much
                back = chance.choice([5 * MINUTE, HOUR, DAY, 30 * DAY])
                moment = max(START, now - chance.randint(0, back))
            if out and chance.randrange(10) < phase.like:
                other = chance.choice(out)
                moment, amount = other.event_ms, other.amount_minor
            place = chance.choice([(None, None), (48.85, 2.35), (-33.9, 151.2)])
            out.append(
                Event(
                    f"tx-{len(out)}", "card-0", f"m-{chance.randrange(25)}", moment, amount,
                    device_id=chance.choice([None, *(f"d-{i}" for i in range(9))]),
                    country=chance.choice([None, "FR", "FR", "DE", "PL", "IT", "PT", "US"]),
                    channel=chance.choice([None, "pos", "ecom"]),
                    mcc=chance.choice([None, *(str(5400 + i) for i in range(12)), "5400"]),
                    latitude=place[0], longitude=place[1],
                )
            )  # fmt: skip
    return out


def test_countries_with_letters_of_the_same_sum_count_as_one() -> None:
    card = Card()
    for i, country in enumerate(("FR", "DE", "ES")):
        card.pay(Event(f"t-{i}", "card-0", "m", START + i, 1, country=country), compare=False)
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    last = columns_of([Event("t-3", "card-0", "m", START + 3, 1)], [START + 3], [-1])
    payer_features(
        last, np.zeros(1, np.int64), card.arena, READ, CARD_COLUMNS, row, np.zeros(1, dtype=np.uint8)
    )
    assert row[0, INDEX["card_countries_1h"]] == 2


class Group(NamedTuple):
    """Of old payments: the newest one's time, how many, their sum."""

    event_ms: int
    count: int
    total: int


def whole_of(profile: Any) -> list[Group]:
    """The payments of a profile that are kept whole."""
    some = profile["recent"][: int(profile["n"])]
    base = int(profile["base_ms"])
    return [Group(base + int(r["t"]), 1, int(r["amount"]) + (int(r["amount_high"]) << 32)) for r in some]


def old_of(profile: Any) -> list[Group]:
    """The old payments of a profile, oldest first."""
    places = [(int(profile["old_first"]) + k) % OLD for k in range(int(profile["old_n"]))]
    return [
        Group(
            int(profile["base_ms"]) + int(profile["old_t"][j]), int(profile["old_count"][j]),
            int(profile["old_amount"][j]) + (int(profile["old_high"][j]) << 32),
        )
        for j in places
    ]  # fmt: skip


class Card:
    """The kernel's profile beside the list of all payments that it took."""

    def __init__(self) -> None:
        self.arena = new_arena(PAYER, 1)
        self.naive = Payer()
        #: whether 31 days held more payments than are kept, ever
        self.beyond = False
        #: how many payments were compared by groups, and how many later than a day
        self.by_groups = self.later_than_a_day = 0

    def pay(self, e: Event, *, compare: bool) -> int:
        profile, stored = self.arena[0].copy(), self.arena.tobytes()
        row, seen = np.full((1, WIDTH), np.nan, dtype=np.float32), np.zeros(1, dtype=np.uint8)
        payer_features(
            columns_of([e], [e.event_ms], [-1]),
            np.zeros(1, np.int64),
            self.arena,
            APPLY,
            CARD_COLUMNS,
            row,
            seen,
        )
        held, past = int(seen[0]), self.naive.events
        alike = [p for p in past if (p.event_ms, p.amount_minor) == (e.event_ms, e.amount_minor)]
        assert held == NEW or alike
        assert held != DUPLICATE or self.naive.is_repeated(e)
        newest = max([e.event_ms, *(p.event_ms for p in past)])
        if held == NEW and not self.beyond and newest - e.event_ms < MONTH:
            assert not self.naive.is_repeated(e)
        if held != NEW:
            assert self.arena.tobytes() == stored
        if held == DUPLICATE:
            assert np.isnan(row).all()
            return held
        if compare:
            got = {
                f.name.removeprefix("card_"): float(row[0, INDEX[f.name]])
                for f in FEATURES
                if f.entity == "card"
            }
            self.check(e, got, profile)
        if held == NEW:
            past.append(e)
            if newest - e.event_ms < 40 * DAY:
                around = sorted(p.event_ms for p in past)
                self.beyond |= any(
                    b - a < MONTH for a, b in zip(around, around[RECENT + OLD :], strict=False)
                )
        return held

    def check(self, e: Event, got: dict[str, float], profile: Any) -> None:
        newest = max([e.event_ms, *(p.event_ms for p in self.naive.events)])
        want = self.naive.features(e)
        past = [p for p in self.naive.events if p.event_ms <= e.event_ms]
        late_ms = newest - e.event_ms
        unsure = {"seconds_since_last", "small_run_1h", "mcc_share", *(f"new_{kind}" for kind in TABLES)}
        unsure |= {name for name in want if name.startswith(("merchants_", "countries_", "devices_"))}
        of_month = {name for name in want if name.endswith("_30d")}
        windows = {
            f"{what}_{name}" for name in WINDOWS for what in ("count", "sum", "mean", "max", "std")
        } | of_month
        for name, value in want.items():
            if name in unsure or (name in windows and (self.beyond or late_ms > DAY)):
                continue
            assert agrees(f"card_{name}", got[name], value, e, past), (name, got[name], value)
        if self.beyond:
            self.check_groups(e, got, want, profile)
        elif late_ms > DAY:
            self.check_later_than_a_day(e, got, past, newest)
        self.check_recent(e, got, past)
        self.check_firsts(e, got, want)
        if not math.isnan(want["mcc_share"]):
            assert want["mcc_share"] - 1 / 9 - 1e-6 <= got["mcc_share"] <= want["mcc_share"] + 1e-6
        self.check_last(e, got, newest, [] if not self.beyond else old_of(profile))

    def check_groups(self, e: Event, got: dict[str, float], want: dict[str, float], profile: Any) -> None:
        """Off by at most the group at the far end, too much, and the one that ends after a late payment, too little."""
        newest = max(p.event_ms for p in self.naive.events)
        if max(p.amount_minor for p in self.naive.events) > 10**9 or newest - e.event_ms > DAY:
            return
        self.by_groups += 1
        old = old_of(profile)
        held = old + whole_of(profile)
        after = next((group for group in old if group.event_ms > e.event_ms), None)
        for name, window in WINDOWS.items():
            far = next((group for group in old if group.event_ms > e.event_ms - window), None)
            more, less = (
                (far.count - 1, far.total) if far else (0, 0),
                (after.count, after.total) if after else (0, 0),
            )
            for k, what in enumerate(("count", "sum")):
                low, high = want[f"{what}_{name}"] - less[k], want[f"{what}_{name}"] + more[k]
                assert np.float32(low) <= got[f"{what}_{name}"] <= np.float32(high), (what, name)
            # groups as payments of their mean
            kept = [group for group in held if 0 <= e.event_ms - group.event_ms < window]
            amounts = np.array([group.total / group.count for group in kept] + [e.amount_minor])
            weights = np.array([group.count for group in kept] + [1])
            mean = np.average(amounts, weights=weights)
            spread = math.sqrt(np.average((amounts - mean) ** 2, weights=weights))
            assert math.isclose(got[f"mean_{name}"], mean, rel_tol=1e-6)
            assert math.isclose(got[f"max_{name}"], max(int(a) for a in amounts), rel_tol=1e-6)
            assert math.isclose(got[f"std_{name}"], spread, rel_tol=1e-6, abs_tol=1e-3)

    def recent(self) -> list[Event]:
        """The newest payments, those that are kept whole; where more have the same time, some of them."""
        return sorted(self.naive.events, key=lambda p: p.event_ms)[-RECENT:]

    def check_later_than_a_day(self, e: Event, got: dict[str, float], past: list[Event], newest: int) -> None:
        """What lies 31 days behind the newest may be missing."""
        self.later_than_a_day += 1
        some = [p for p in past if p.event_ms > newest - MONTH]
        most, least = self.naive.windows(e, past), self.naive.windows(e, some)
        for name in WINDOWS:
            for what in ("count", "sum", "max"):
                key = f"{what}_{name}"
                assert np.float32(least[key]) <= got[key] <= np.float32(most[key]), key

    def check_recent(self, e: Event, got: dict[str, float], past: list[Event]) -> None:
        """Of the newest 40 payments."""
        recent = self.recent()
        edge = recent[0].event_ms if len(recent) == RECENT else -1
        kept_ms = recent[-1].event_ms - MONTH if recent else -1
        surely = [p for p in past if p.event_ms > max(edge, kept_ms)]
        perhaps = [p for p in past if p.event_ms >= edge]
        least, most = self.naive.windows(e, surely), self.naive.windows(e, perhaps)
        for name in (
            "small_run_1h",
            *(k for k in least if k.startswith(("merchants_", "countries_", "devices_"))),
        ):
            assert least[name] <= got[name] <= most[name], name

    def check_firsts(self, e: Event, got: dict[str, float], want: dict[str, float]) -> None:
        """Never known that is new; new that is known only after many others."""
        newest = self.recent()
        edge = max(newest[0].event_ms, newest[-1].event_ms - MONTH) if newest else 0
        recent = {p.merchant_id for p in newest if edge < p.event_ms <= e.event_ms}
        for kind, size in TABLES.items():

            def of(p: Event, kind: str = kind) -> str | None:
                return p.country if kind == "country" else getattr(p, f"{kind}_id")

            name = f"new_{kind}"
            if math.isnan(want[name]) or want[name] == 1:
                assert got[name] == want[name] or (math.isnan(want[name]) and math.isnan(got[name])), name
                continue
            first = min(p.event_ms for p in self.naive.events if of(p) == of(e))
            others = {of(p) for p in self.naive.events if p.event_ms >= first} - {None, of(e)}
            if len(others) < size or (kind == "merchant" and of(e) in recent):
                assert got[name] == 0, name

    def check_last(self, e: Event, got: dict[str, float], newest: int, groups: list[Group]) -> None:
        past = [p.event_ms for p in self.naive.events if p.event_ms <= e.event_ms]
        surely = [t for t in past if e.event_ms >= newest or t > newest - MONTH]
        if groups and e.event_ms < newest:
            # a group that ends after it hides the payments before it
            return
        if surely:
            assert got["seconds_since_last"] == np.float32((e.event_ms - max(surely)) / 1000)
        else:
            assert math.isnan(got["seconds_since_last"]) or past


@settings(max_examples=60, deadline=None)
@given(st.lists(phases, min_size=1, max_size=5), st.integers(0, 2**32))
def test_a_long_history_agrees_with_the_oracle(drawn: list[Phase], seed: int) -> None:
    card = Card()
    for i, e in enumerate(events_of(drawn, seed)):
        late = any(p.event_ms > e.event_ms for p in card.naive.events)
        card.pay(e, compare=late or i % 5 == 0)


def test_the_histories_above_reach_what_they_should() -> None:
    """Old payments, groups, what is like an old one, tables that are full: so that the property says something."""
    reached = {
        "old": 0,
        "groups": 0,
        POSSIBLE: 0,
        DUPLICATE: 0,
        "forgotten firsts": 0,
        "by groups": 0,
        "very late": 0,
    }
    for seed in range(12):
        card, steady = Card(), Phase(170, [3 * HOUR, 10 * HOUR, MINUTE][seed % 3], 2, 1, 1)
        for e in events_of([steady, Phase(60, 3 * HOUR, 3, 1, 1)], seed, most=230):
            held = card.pay(e, compare=True)
            reached[held] = reached.get(held, 0) + 1
        old = old_of(card.arena[0])
        reached["by groups"] += card.by_groups
        reached["very late"] += card.later_than_a_day
        reached["old"] += len(old)
        reached["groups"] += sum(group.count > 1 for group in old)
        known = {int(v) & 0xFFFF for v in card.arena[0]["countries"]}
        reached["forgotten firsts"] += len({e.country for e in card.naive.events} - {None}) - len(known)
    assert min(reached.values()) > 10, reached


def habits(payments: list[tuple[int, str, str]]) -> tuple[float, float, float, Any]:
    """Shares of hour, channel and category of the last of these payments (hour, channel, category), and the profile before it."""
    events = [
        Event(
            f"t-{i}", "card-0", "m", START // DAY * DAY + i * DAY + hour * HOUR, 100, channel=channel, mcc=mcc
        )
        for i, (hour, channel, mcc) in enumerate(payments)
    ]
    columns = columns_of(events, [e.event_ms for e in events], [-1] * len(events))
    arena, slots = new_arena(PAYER, 1), np.zeros(len(events), np.int64)
    apply_payments(columns[:-1], slots[:-1], arena)
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    payer_features(columns[-1:], slots[-1:], arena, READ, CARD_COLUMNS, row, np.zeros(1, dtype=np.uint8))
    return (*(float(row[0, INDEX[f"card_{name}_share"]]) for name in ("hour", "channel", "mcc")), arena[0])


MANY = 65_535 + 3_000


@pytest.mark.parametrize("hours", [1, 24])
@pytest.mark.parametrize("channels", [("pos",), ("pos", "ecom")])
@pytest.mark.parametrize(
    "categories", [("5411",), ("5411", "6011", "5812"), tuple(str(5400 + i) for i in range(12))]
)
def test_counts_halve_and_shares_stay(
    hours: int, channels: tuple[str, ...], categories: tuple[str, ...]
) -> None:
    """Whatever comes to 65,535 first: an hour, a channel or a category."""
    paid = [(i % hours, channels[i % len(channels)], categories[i % len(categories)]) for i in range(MANY)]
    by_hour, by_channel, by_category, profile = habits(paid)
    assert by_hour == pytest.approx(1 / hours, rel=0.01)
    assert by_channel == pytest.approx(1 / len(channels), rel=0.01)
    assert 1 / len(categories) - 1 / 9 - 0.001 <= by_category <= 1 / len(categories) + 0.001
    # a half is rounded for each hour
    assert int(profile["hours"].sum()) == pytest.approx(int(profile["channels"].sum()), abs=24)
