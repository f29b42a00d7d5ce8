"""The kernel against the naive oracle: disorder, equal times, repetitions, gaps of months, any batch split."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.card_kernel import DUPLICATE, card_features
from features.catalogue import INDEX, NAMES, WIDTH
from features.columns import columns_of
from features.entity_kernel import apply_items, entity_features
from features.profiles import CARD, ENTITY, card_state, entity_state, load_into, new_arena
from tests.property.oracle import DAY, HOUR, Card, Event, tile_counts

START = 1_700_000_000_000
gaps = st.one_of(
    st.integers(0, 3), st.integers(0, 20 * 60_000), st.integers(-2 * HOUR, 2 * HOUR), st.integers(-3 * DAY, 9 * DAY),
    st.just(70 * DAY),
)  # fmt: skip
amounts = st.one_of(st.integers(0, 2_000), st.integers(0, 2**40 - 1))
steps = st.lists(
    st.tuples(gaps, amounts, st.integers(0, 2), st.integers(0, 5), st.booleans()), min_size=1, max_size=60
)


def events_of(drawn: list[tuple[int, int, int, int, bool]]) -> list[Event]:
    now, out = START, []
    for i, (gap, amount, card, merchant, repeat) in enumerate(drawn):
        if repeat and out:
            out.append(out[-1])
            continue
        now = max(START, now + gap)
        out.append(Event(f"tx-{i}", f"card-{card}", f"m-{merchant}", now, amount))
    return out


def run_kernel(events: list[Event], splits: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cards = sorted({e.card_id for e in events})
    arena = new_arena(CARD, len(cards))
    out = np.full((len(events), WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(len(events), dtype=np.uint8)
    bounds = sorted({0, len(events), *(s % (len(events) + 1) for s in splits)})
    for start, end in itertools.pairwise(bounds):
        part = events[start:end]
        columns = columns_of(part, [e.event_ms for e in part], list(range(start, end)))
        slots = np.array([cards.index(e.card_id) for e in part], dtype=np.int64)
        card_features(columns, slots, card_state(arena), True, out[start:end], seen[start:end])
    return out, seen, arena


@settings(max_examples=60, deadline=None)
@given(steps, st.lists(st.integers(0, 100), max_size=5))
def test_card_windows_agree_with_the_oracle(drawn, splits):
    events = events_of(drawn)
    rows, seen, _ = run_kernel(events, splits)
    cards: dict[str, Card] = {}
    for i, event in enumerate(events):
        card = cards.setdefault(event.card_id, Card())
        if card.is_repeated(event):
            assert seen[i] == DUPLICATE
            assert np.isnan(rows[i]).all()
            continue
        assert seen[i] == 0
        expected = card.features(event)
        for name, value in expected.items():
            got = rows[i, INDEX[name]]
            if name == "card_amount_zscore_30d":
                assert math.isclose(got, value, rel_tol=1e-3, abs_tol=1e-2), name
            else:
                assert got == np.float32(value), (name, got, value)
        # what the oracle leaves out is unknown, not zero
        if "card_amount_ratio_mean_30d" not in expected:
            assert np.isnan(rows[i, INDEX["card_amount_ratio_mean_30d"]])
        card.events.append(event)


@settings(max_examples=40, deadline=None)
@given(steps, st.lists(st.integers(0, 100), max_size=6))
def test_any_batch_split_gives_the_same_bits(drawn, splits):
    events = events_of(drawn)
    whole, seen_whole, state_whole = run_kernel(events, [])
    parts, seen_parts, state_parts = run_kernel(events, splits)
    assert whole.tobytes() == parts.tobytes()
    assert seen_whole.tobytes() == seen_parts.tobytes()
    assert state_whole.tobytes() == state_parts.tobytes()


@settings(max_examples=30, deadline=None)
@given(steps, st.integers(0, 59))
def test_later_events_do_not_move_a_feature(drawn, at):
    events = events_of(drawn)
    at = min(at, len(events) - 1)
    rows, _, _ = run_kernel(events, [])
    changed = [
        *events[: at + 1],
        *(Event(f"x-{i}", e.card_id, "m-x", e.event_ms, 1) for i, e in enumerate(events[at + 1 :])),
    ]
    again, _, _ = run_kernel(changed, [])
    assert rows[: at + 1].tobytes() == again[: at + 1].tobytes()


@settings(max_examples=40, deadline=None)
@given(steps)
def test_entity_counts_agree_with_the_oracle(drawn):
    events = [e for e in events_of(drawn) if e.event_ms >= START]
    merchants = sorted({e.merchant_id for e in events})
    arena = new_arena(ENTITY, len(merchants))
    newest = dict.fromkeys(merchants, 0)
    applied: list[Event] = []
    for i, event in enumerate(events):
        slot = merchants.index(event.merchant_id)
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        row[0, INDEX["amount"]] = event.amount_minor
        slots = np.array([[slot, -1, -1, -1, -1]])
        entity_features(np.array([event.event_ms]), slots, entity_state(arena), row)
        # beyond 26 hours behind the newest event, hour tiles are gone: only events in order are compared
        if event.event_ms >= newest[event.merchant_id]:
            expected = tile_counts(applied, "merchant_id", event.merchant_id, event.event_ms)
            for name, value in expected.items():
                assert row[0, INDEX[f"merchant_{name}"]] == value, name
        one = np.array([slot])
        apply_items(
            one, np.array([i]), np.array([False]), np.array([event.event_ms]), np.array([event.amount_minor]),
            np.array([1], dtype=np.uint32), np.array([0]), entity_state(arena),
        )  # fmt: skip
        newest[event.merchant_id] = max(newest[event.merchant_id], event.event_ms)
        applied.append(event)


def test_fraud_rate_moves_only_with_a_matured_label():
    arena = new_arena(ENTITY, 1)
    state = entity_state(arena)
    day = START // DAY * DAY

    def rate(t: int) -> float:
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        row[0, INDEX["amount"]] = 100
        entity_features(np.array([t]), np.array([[0, -1, -1, -1, -1]]), state, row)
        return float(row[0, INDEX["merchant_fraud_rate_7d"]])

    def item(t: int, label: bool, frauds: int) -> None:
        apply_items(
            np.array([0]), np.array([1]), np.array([label]), np.array([t]), np.array([100]),
            np.array([1], dtype=np.uint32), np.array([frauds]), state,
        )  # fmt: skip

    item(day, False, 0)
    item(day, False, 0)
    assert rate(day + 9 * DAY) == 0.0
    item(day, True, 1)
    assert rate(day + 2 * DAY) == 0.0
    assert rate(day + 9 * DAY) == 0.5
    item(day, True, -1)
    assert rate(day + 9 * DAY) == 0.0


def test_a_profile_survives_its_bytes():
    events = [
        Event(f"t-{i}", "c", f"m-{i % 7}", START + i * 1000, i, device_id=f"d-{i % 3}", country="FR")
        for i in range(300)
    ]
    _, _, arena = run_kernel(events, [])
    again = new_arena(CARD, 1)
    assert load_into(again, 0, arena[0].tobytes())
    assert again.tobytes() == arena.tobytes()
    assert CARD.itemsize <= 2048 and ENTITY.itemsize <= 2048


def test_the_catalogue_names_every_column_once():
    assert len(set(NAMES)) == len(NAMES) == WIDTH
