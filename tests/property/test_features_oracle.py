"""The kernels against the naive oracle: disorder, equal times, repetitions, gaps of months, any batch split."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import FEATURES, INDEX, NAMES, WIDTH
from features.kernels.columns import PAYMENT, columns_of, text_hash
from features.kernels.payer import (
    APPLY,
    CARD_COLUMNS,
    CONSULT,
    CUSTOMER_COLUMNS,
    DUPLICATE,
    apply_payments,
    payer_features,
    transaction_features,
)
from features.kernels.shared_entity import (
    DECLINED,
    FIRST,
    LABEL,
    PAID,
    apply_frauds,
    apply_items,
    fraud_features,
    shared_entity_features,
)
from features.profile.codec import encode_profiles, read_profiles
from features.profile.records import FRAUDS, OLD, PAYER, RECENT, SHARED_ENTITY, new_arena
from tests.support.oracle import (
    DAY,
    HOUR,
    MINUTE,
    Event,
    Payer,
    of_frauds,
    of_shared_entity,
    of_transaction,
)
from tests.support.oracle_agreement import START, agrees

#: how far behind the newest an event may come and still find its place in every window
LATEST_MS = 35 * DAY
gaps = st.one_of(
    st.integers(0, 3), st.integers(0, 20 * MINUTE), st.integers(-2 * HOUR, 2 * HOUR), st.integers(-3 * DAY, 9 * DAY),
    st.sampled_from([MINUTE, 10 * MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY, 70 * DAY, -20 * DAY]),
)  # fmt: skip
amounts = st.one_of(st.integers(0, 2_000), st.sampled_from([500, 501, 1000]), st.integers(0, 10**12))
places = st.sampled_from([(None, None), (48.85, 2.35), (48.86, 2.35), (-33.9, 151.2)])
event_parts = st.tuples(
    gaps, amounts, st.integers(0, 2), st.integers(0, 5), st.booleans(), st.sampled_from([None, "FR", "DE", "PL"]),
    st.sampled_from([None, "d-1", "d-2", "d-3"]), st.sampled_from([None, "pos", "ecom", "moto"]),
    st.sampled_from([None, "5411", "6011"]), places,
)  # fmt: skip
steps = st.lists(event_parts, min_size=1, max_size=40)


def events_of(drawn: list[tuple]) -> list[Event]:
    now, newest, out = START, START, []
    for i, (gap, amount, card, merchant, repeat, country, device, channel, mcc, place) in enumerate(drawn):
        if repeat and out:
            out.append(out[-1])
            continue
        now = max(START, now + gap, newest - LATEST_MS)
        newest = max(newest, now)
        out.append(
            Event(f"tx-{i}", f"card-{card}", f"m-{merchant}", now, amount, device_id=device, country=country,
                  channel=channel, mcc=mcc, latitude=place[0], longitude=place[1])
        )  # fmt: skip
    return out


def run_kernel(
    events: list[Event], splits: list[int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cards = sorted({e.card_id for e in events})
    arena = new_arena(PAYER, len(cards))
    out = np.full((len(events), WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(len(events), dtype=np.uint8)
    bounds = sorted({0, len(events), *(s % (len(events) + 1) for s in splits or [])})
    for start, end in itertools.pairwise(bounds):
        part = events[start:end]
        payments = columns_of(part, [e.event_ms for e in part], list(range(start, end)))
        slots = np.array([cards.index(e.card_id) for e in part], dtype=np.int64)
        payer_features(payments, slots, arena, APPLY, CARD_COLUMNS, out[start:end], seen[start:end])
        transaction_features(payments, seen[start:end], out[start:end])
    return out, seen, arena


@settings(max_examples=80, deadline=None)
@given(steps, st.lists(st.integers(0, 100), max_size=5))
def test_every_entry_of_a_card_agrees_with_the_oracle(drawn, splits):
    events = events_of(drawn)
    rows, seen, _ = run_kernel(events, splits)
    cards: dict[str, Payer] = {}
    compared = set()
    for i, event in enumerate(events):
        card = cards.setdefault(event.card_id, Payer())
        if card.is_repeated(event):
            assert seen[i] == DUPLICATE
            assert np.isnan(rows[i]).all()
            continue
        assert seen[i] == 0
        expected = {f"card_{name}": value for name, value in card.features(event).items()}
        for name, want in {**of_transaction(event), **expected}.items():
            compared.add(name)
            got = rows[i, INDEX[name]]
            late = any(p.event_ms > event.event_ms for p in card.events)
            if name == "card_seconds_since_last" and late and math.isnan(want):
                continue
            assert agrees(name, got, want, event, card.events), (name, got, want)
        card.events.append(event)
    labelled = {"card_frauds_30d", "card_declined_1h"}
    assert compared == {f.name for f in FEATURES if f.entity in ("transaction", "card")} - labelled


@settings(max_examples=40, deadline=None)
@given(steps)
def test_a_customer_is_read_as_a_card_is_and_written_by_items(drawn):
    """Same profile, same kernel: reading with CONSULT and writing apart gives a card's features, one place further."""
    events = events_of(drawn)
    rows, seen, _ = run_kernel(events)
    arena = new_arena(PAYER, 3)
    for i, event in enumerate(events):
        if seen[i]:
            continue
        payment = columns_of([event], [event.event_ms], [i])
        slots = np.array([int(event.card_id[-1])])
        row, unused = np.full((1, WIDTH), np.nan, dtype=np.float32), np.zeros(1, dtype=np.uint8)
        payer_features(payment, slots, arena, CONSULT, CUSTOMER_COLUMNS, row, unused)
        width = INDEX["customer_frauds_30d"] - CUSTOMER_COLUMNS
        own = row[0, CUSTOMER_COLUMNS : CUSTOMER_COLUMNS + width]
        assert own.tobytes() == rows[i, CARD_COLUMNS : CARD_COLUMNS + width].tobytes()
        apply_payments(payment, slots, arena)


@settings(max_examples=40, deadline=None)
@given(steps, st.lists(st.integers(0, 100), max_size=6))
def test_any_batch_split_gives_the_same_bits(drawn, splits):
    events = events_of(drawn)
    whole, seen_whole, state_whole = run_kernel(events)
    parts, seen_parts, state_parts = run_kernel(events, splits)
    assert whole.tobytes() == parts.tobytes()
    assert seen_whole.tobytes() == seen_parts.tobytes()
    assert state_whole.tobytes() == state_parts.tobytes()


@settings(max_examples=30, deadline=None)
@given(steps, st.integers(0, 59))
def test_what_arrives_later_does_not_move_a_feature(drawn, at):
    events = events_of(drawn)
    at = min(at, len(events) - 1)
    rows, _, _ = run_kernel(events)
    changed = [
        *events[: at + 1],
        *(Event(f"x-{i}", e.card_id, "m-x", e.event_ms, 1) for i, e in enumerate(events[at + 1 :])),
    ]
    again, _, _ = run_kernel(changed)
    assert rows[: at + 1].tobytes() == again[: at + 1].tobytes()


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 59), st.integers(1, 40 * DAY))
def test_what_happens_later_does_not_move_a_feature_though_it_arrives_first(drawn, at, ahead):
    """A late event's features do not know what its card did after it: another future, the same features."""
    events = [e for e in events_of(drawn) if e.card_id == "card-0"]
    if not events:
        return
    late = events[min(at, len(events) - 1)]
    before = [e for e in events if e.event_ms <= late.event_ms and e is not late]
    futures = []
    for country, merchant, amount in (("FR", "m-1", 10), ("PL", "m-2", 999)):
        later = Event("later", "card-0", merchant, late.event_ms + ahead, amount, device_id="d-1", country=country,
                      channel="pos", mcc="5411", latitude=1.0, longitude=amount / 100)  # fmt: skip
        rows, seen, _ = run_kernel([*before, later, late])
        futures.append((rows[-1].tobytes(), seen[-1]))
    assert futures[0] == futures[1]


def busy_card(n: int, span_ms: int, seed: int) -> list[Event]:
    chance = random.Random(seed)
    times = sorted(START + chance.randrange(span_ms) for _ in range(n))
    return [
        Event(f"b-{i}", "card-0", f"m-{i % 7}", t, chance.randrange(1, 10_000)) for i, t in enumerate(times)
    ]


@pytest.mark.parametrize(("n", "days"), [(125, 30), (400, 30), (3000, 45), (3000, 2)])
def test_beyond_the_kept_payments_the_stated_error_holds(n, days):
    """Exact up to 130 payments in 31 days; beyond, off by at most the group at a window's far end."""
    events = busy_card(n, days * DAY, seed=n + days)
    rows, _, arena = run_kernel(events)
    profile = arena[0]
    assert profile["n"] == min(n, RECENT) and profile["old_n"] <= OLD
    for i in range(n // 2, n, 37):
        want = Payer(events[:i]).windows(events[i], events[:i])
        for name in ("24h", "7d", "30d"):
            count = rows[i, INDEX[f"card_count_{name}"]]
            # evenly spread: no earlier 31 days held more than these
            if sum(e.event_ms > events[i].event_ms - 31 * DAY for e in events[:i]) <= RECENT + OLD:
                assert count == want[f"count_{name}"]
                assert rows[i, INDEX[f"card_sum_{name}"]] == np.float32(want[f"sum_{name}"])
                assert rows[i, INDEX[f"card_max_{name}"]] == want[f"max_{name}"]
            else:
                # groups are as even as neighbours allow: the one at the far end holds a few in a hundred
                assert 0.8 * want[f"count_{name}"] <= count <= 1.2 * want[f"count_{name}"]
                assert rows[i, INDEX[f"card_mean_{name}"]] == pytest.approx(want[f"mean_{name}"], rel=0.1)
                assert rows[i, INDEX[f"card_max_{name}"]] <= want[f"max_{name}"]
                assert rows[i, INDEX[f"card_std_{name}"]] <= 1.05 * want[f"std_{name}"]


def test_many_merchants_may_come_back_as_new_but_never_as_known():
    events = [Event(f"t-{i}", "card-0", f"m-{i % 90}", START + i * HOUR, 100) for i in range(270)]
    rows, _, _ = run_kernel(events)
    new = rows[:, INDEX["card_new_merchant"]]
    assert new[:90].all(), "an unknown merchant was taken for a known one"
    again = [Event(f"t-{i}", "card-0", f"m-{i % 15}", START + i * HOUR, 100) for i in range(270)]
    rows, _, _ = run_kernel(again)
    assert not rows[15:, INDEX["card_new_merchant"]].any()


def place_world(drawn: list[tuple]) -> tuple[list[Event], list[str]]:
    events = [e for e in events_of(drawn) if e.event_ms >= START]
    return events, sorted({e.merchant_id for e in events})


def moment(event_ms: int) -> np.ndarray:
    payment = np.zeros(1, dtype=PAYMENT)
    payment["event_ms"] = event_ms
    return payment


@settings(max_examples=60, deadline=None)
@given(steps, st.data())
def test_every_entry_of_a_shared_entity_place_agrees_with_the_oracle(drawn, data):
    events, merchants = place_world(drawn)
    kind = data.draw(st.integers(0, 2), label="merchant, device or ip")
    entity = ("merchant", "device", "ip")[kind]
    arena = new_arena(SHARED_ENTITY, len(merchants))
    applied: dict[str, list[Event]] = {m: [] for m in merchants}
    frauds: dict[str, list[Event]] = {m: [] for m in merchants}
    for i, event in enumerate(events):
        name, slot = event.merchant_id, merchants.index(event.merchant_id)
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        row[0, INDEX["amount"]] = event.amount_minor
        slots = np.full((1, 3), -1)
        slots[0, kind] = slot
        shared_entity_features(moment(event.event_ms), slots, arena, row)
        # further behind the newest than a ring of tiles reaches, tiles are gone: events in order are compared
        if all(p.event_ms <= event.event_ms for p in [*applied[name], *frauds[name]]):
            expected = of_shared_entity(applied[name], frauds[name], event)
            filled = {NAMES[j] for j in range(FIRST[kind], FIRST[kind] + 22)}
            assert {f"{entity}_{n}" for n in expected} == filled
            for entry, want in expected.items():
                got = row[0, INDEX[f"{entity}_{entry}"]]
                if entry == "amount_ratio_mean_30d" and not math.isnan(want):
                    # the amount as the row has it, in single precision
                    assert math.isclose(got, want, rel_tol=1e-6), (entry, got, want)
                    continue
                assert (math.isnan(want) and np.isnan(got)) or got == np.float32(want), (entry, got, want)
        one = np.array([slot])
        label = data.draw(st.sampled_from([0, 0, 1]), label="a fraud of it is reported")
        moments = np.array([event.event_ms])
        card = np.array([text_hash(event.card_id)], dtype=np.uint32)
        apply_items(
            one, np.array([i]), one * 0 + PAID, moments, np.array([event.amount_minor]), card, one * 0, arena
        )
        applied[name].append(event)
        if label:
            apply_items(one, np.array([i]), one * 0 + LABEL, moments, one * 0, card, one * 0 + 1, arena)
            frauds[name].append(event)


def test_the_sketch_of_different_cards_stays_inside_its_error():
    """Linear counting with 128 buckets: 9 % standard error up to 200 cards; windows of 10 minutes to 7 days."""
    for cards in (3, 10, 50, 200):
        arena = new_arena(SHARED_ENTITY, 1)
        errors = []
        for trial in range(20):
            arena = new_arena(SHARED_ENTITY, 1)
            n = 3 * cards
            hashes = np.array([text_hash(f"c-{trial}-{i % cards}") for i in range(n)], dtype=np.uint32)
            zeros = np.zeros(n, np.int64)
            apply_items(zeros, zeros - 1, zeros, START + np.arange(n) * 1000, zeros, hashes, zeros, arena)
            row = np.zeros((1, WIDTH), dtype=np.float32)
            shared_entity_features(moment(START + n * 1000), np.array([[0, -1, -1]]), arena, row)
            errors.append(float(row[0, INDEX["merchant_cards_24h"]]) / cards - 1)
        assert abs(np.mean(errors)) < 0.05
        assert np.std(errors) < 0.13


@pytest.mark.parametrize("silence_days", [8, 45, 46, 91, 400])
def test_the_sketch_forgets_though_its_minutes_come_round_again(silence_days):
    arena = new_arena(SHARED_ENTITY, 1)
    zeros = np.zeros(60, np.int64)
    hashes = np.arange(60, dtype=np.uint32)
    apply_items(zeros, zeros - 1, zeros, START + np.arange(60) * MINUTE, zeros, hashes, zeros, arena)

    def cards(t: int) -> float:
        row = np.zeros((1, WIDTH), dtype=np.float32)
        shared_entity_features(moment(t), np.array([[0, -1, -1]]), arena, row)
        return float(row[0, INDEX["merchant_cards_7d"]])

    assert cards(START + HOUR) > 50
    for minutes in range(-70, 70, 7):
        assert cards(START + silence_days * DAY + minutes * MINUTE) == 0
    later = START + silence_days * DAY
    one = np.zeros(1, np.int64)
    apply_items(one, one - 1, one, np.array([later]), one, np.array([5], dtype=np.uint32), one, arena)
    assert cards(later + 1) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(gaps, st.sampled_from(["fraud", "declined", "cleared"])), max_size=30))
def test_frauds_and_declines_agree_with_the_oracle(drawn):
    arena = new_arena(FRAUDS, 1)
    frauds: list[int] = []
    declined: list[int] = []
    now = START
    for i, (gap, what) in enumerate(drawn):
        now += abs(gap)
        slot = np.zeros(1, np.int64)
        if what == "declined":
            apply_frauds(slot, slot + i, slot + DECLINED, np.array([now]), slot, arena)
            declined.append(now)
        elif what == "fraud":
            apply_frauds(slot, slot + i, slot + LABEL, np.array([now]), slot + 1, arena)
            frauds.append(now)
        elif frauds and now // DAY - frauds[-1] // DAY < 40:
            apply_frauds(slot, slot + i, slot + LABEL, np.array([frauds[-1]]), slot - 1, arena)
            frauds.pop()
        for entity, slots in (("card", [[0, -1]]), ("customer", [[-1, 0]])):
            row = np.full((1, WIDTH), np.nan, dtype=np.float32)
            fraud_features(moment(now), np.array(slots), arena, row)
            for name, want in of_frauds(frauds, declined, now).items():
                assert row[0, INDEX[f"{entity}_{name}"]] == want, name


def test_a_profile_survives_its_bytes():
    events = busy_card(300, 40 * DAY, seed=1)
    _, _, arena = run_kernel(events)
    stored = encode_profiles(arena, np.array([0]), 0)[0]
    assert len(stored) <= 2048
    again = new_arena(PAYER, 1)
    read_profiles(again, np.array([0]), [stored])
    assert again[0].tobytes() == arena[0].tobytes()


def test_the_catalogue_names_every_column_once():
    assert len(set(NAMES)) == len(NAMES) == WIDTH
