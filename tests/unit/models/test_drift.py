"""Drift statistics: sizes of effect, significance, effective sample size, matching times, windows, confirmation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.drift.causes import Change, Signs, likely_cause
from models.drift.effective_size import by_card, effective_size, overdispersion
from models.drift.matching import same_times
from models.drift.requests import Confirmations, RetrainingPolicy, may_ask, remember_request, request_key
from models.drift.statistics import (
    Bins,
    Thresholds,
    population_stability_index,
    psi_beyond_noise,
    severity,
    significant,
)
from models.drift.window import Collector, WindowPolicy

LIMITS = Thresholds()
POLICY = RetrainingPolicy(confirm_rounds=2, cooldown_s=100.0)


def test_psi_is_the_textbook_sum():
    expected, actual = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    naive = sum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))
    assert population_stability_index(expected, actual) == pytest.approx(naive)
    assert population_stability_index(expected, expected) == 0.0
    assert math.isfinite(population_stability_index(np.array([1.0, 0.0]), np.array([0.0, 1.0])))


def psi_of(before: np.ndarray, now: np.ndarray, kind: str = "number", size: int | None = None) -> float:
    bins = Bins.of(before, kind)  # type: ignore[arg-type]
    return psi_beyond_noise(bins, bins.codes(before), bins.codes(now), size or len(now))


def test_psi_grows_with_the_shift_and_is_nothing_without_one():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=5000).astype(np.float32)
    shifts = [psi_of(reference, rng.normal(shift, size=2000).astype(np.float32)) for shift in (0, 0.3, 1.0)]
    assert shifts[0] < 0.005 < 0.05 < shifts[1] < 0.2 < 0.5 < shifts[2]
    # a column of one value has no inner bins that say anything, and no division by nothing
    assert psi_of(np.ones(10, np.float32), np.ones(10, np.float32)) == 0.0
    assert Bins.of(np.empty(0, np.float32), "number").count == 1


def test_what_small_samples_show_by_chance_is_taken_off():
    """Over many pairs of samples of one population; the plain sum is far from 0."""
    rng = np.random.default_rng(0)
    found = [psi_of(rng.normal(size=300), rng.normal(size=200)) for _ in range(200)]
    assert np.median(found) < 0.02
    # 200 rows that are worth 20 show more
    assert psi_of(rng.normal(size=300), rng.normal(0.4, size=200), size=20) < 0.05


def test_the_bins_of_a_category_are_the_references_and_one_for_the_rest():
    before = np.repeat([4.0, 1.0, 7.0], [600, 397, 3])
    bins = Bins.of(before, "category")
    assert bins.edges.tolist() == [1.0, 4.0] and bins.count == 3
    assert bins.codes(np.array([1.0, 4.0, 7.0, 9.0, 0.0])).tolist() == [0, 1, 2, 2, 2]
    assert psi_of(before, np.full(500, 9.0), "category") > 1


def test_false_discovery_rate_by_hand():
    # Benjamini and Hochberg with q = 0.05 and m = 4: thresholds 0.0125, 0.025, 0.0375, 0.05
    assert significant([0.9, 0.01, 0.03, 0.02], 0.05).tolist() == [False, True, True, True]
    assert significant([0.9, 0.013, 0.026, 0.04], 0.05).tolist() == [False, False, False, False]
    assert significant([], 0.05).tolist() == []


@pytest.mark.parametrize(
    ("flag", "distance", "psi", "word"),
    [
        (False, 0.9, 9.0, "none"), (True, 0.9, 0.1, "none"), (True, 0.0, 0.11, "warning"), (True, 0.0, 0.25, "warning"),
        (True, 0.0, 0.26, "critical"), (True, 0.2, None, "none"), (True, 0.25, None, "warning"), (True, 0.31, None, "critical"),
    ],
)  # fmt: skip
def test_a_severity_needs_significance_and_size(flag, distance, psi, word):
    assert severity(flag, distance, psi, LIMITS) == word


def test_rows_of_few_cards_are_worth_few():
    alone, one = np.arange(1000), np.zeros(1000, np.int64)
    assert by_card(alone) == 1000 and by_card(one) == 1
    attack = np.where(np.arange(1000) < 500, 0, alone)
    assert 3 < by_card(attack) < 5
    codes = np.random.default_rng(0).integers(0, 10, 1000)
    assert effective_size(codes, alone, attack) == int(by_card(attack))
    assert effective_size(codes[:0], alone[:0], alone[:0]) == 0


def test_rows_that_come_in_bursts_are_worth_less():
    rng, moments = np.random.default_rng(0), np.arange(2000)
    even = rng.integers(0, 5, 2000)
    assert overdispersion(even, moments) < 1.5
    burst = even.copy()
    burst[800:1000] = 3
    assert overdispersion(burst, moments) > 4
    assert effective_size(burst, moments, moments) < 500
    # the order in which rows arrive says nothing: their times do
    shuffled = rng.permutation(2000)
    assert overdispersion(burst[shuffled], moments[shuffled]) == overdispersion(burst, moments)
    assert overdispersion(np.zeros(100, np.int64), np.arange(100)) == 1.0


def test_the_reference_is_taken_at_the_windows_hours_and_kind_of_day():
    rng = np.random.default_rng(0)
    hours = np.tile(np.repeat(np.arange(24), 100), 2).astype(np.float32)
    weekend = np.repeat([0.0, 1.0], 2400).astype(np.float32)

    def rows(hour: float, day: float, wanted: int) -> np.ndarray:
        return same_times(
            hours, weekend, np.full(50, hour, np.float32), np.full(50, day, np.float32), wanted, rng
        )

    found = rows(4, 1, 80)
    assert set(hours[found]) == {4.0} and set(weekend[found]) == {1.0} and len(set(found)) == 80
    assert set(hours[rows(0, 0, 250)]) == {23.0, 0.0, 1.0} and set(weekend[rows(0, 0, 250)]) == {0.0}
    # 700 rows of these hours on weekdays: too few, and both kinds of day have enough
    assert set(weekend[rows(4, 0, 1000)]) == {0.0, 1.0}
    assert len(rows(math.nan, 0, 80)) == len(hours)
    few = same_times(np.full(100, 15.0), np.zeros(100), np.full(50, 4.0), np.zeros(50), 80, rng)
    assert len(few) == 100


def collected(collector: Collector, first: int, rows: int, step_ms: int) -> None:
    numbers = np.arange(first, first + rows)
    matrix = np.column_stack([numbers, numbers]).astype(np.float32)
    collector.add(matrix, numbers * step_ms, numbers)


def test_a_window_needs_rows_and_a_span_of_event_time():
    policy = WindowPolicy(rows=200, min_rows=100, min_span_s=60)
    fast, slow, few = Collector(policy, 2), Collector(policy, 2), Collector(policy, 2)
    collected(fast, 0, 10_000, 3)  # 30 s
    assert not fast.complete()
    collected(fast, 10_000, 12_000, 3)
    assert fast.complete()
    collected(slow, 0, 99, 60_000)
    assert not slow.complete()
    # one row of another day is no span
    collected(few, 0, 150, 3)
    collected(few, 10**9, 1, 3)
    assert not few.complete()


def test_a_window_is_an_even_sample_of_its_span_and_the_next_one_shares_none():
    collector = Collector(WindowPolicy(rows=200, min_rows=100, min_span_s=1), 2)
    for first in range(0, 20_000, 50):
        collected(collector, first, 50, 10)
    collector.add_decisions(
        np.full(3, 0.5, np.float32), np.array([0, 1, 2], np.int8), np.arange(3), np.arange(3)
    )
    window = collector.close()
    assert len(window.event_ms) == 200 and (window.matrix[:, 0] == window.cards).all()
    assert (window.event_ms == window.cards * 10).all() and window.decisions.tolist() == [0, 1, 2]
    quarters = np.bincount(window.cards // 5_000, minlength=4)
    assert quarters.min() > 25, quarters
    assert len(collector) == 0 and not collector.complete()
    collected(collector, 20_000, 150, 10)
    assert len(window.event_ms) == 200 and collector.close().cards.min() == 20_000


def test_what_is_found_counts_when_windows_in_a_row_found_it():
    seen = Confirmations(3)
    for said, expected in [
        ("critical", "none"), ("warning", "none"), ("critical", "warning"), ("critical", "warning"), ("critical", "critical"),
        ("none", "none"), ("critical", "none"), ("critical", "none"), ("critical", "critical"),
    ]:  # fmt: skip
        seen = seen.after({"ks:amount": said})
        assert seen.confirmed("ks:amount") == expected
    # a window that could not test it breaks the row
    assert seen.after({}).after({"ks:amount": "critical"}).confirmed("ks:amount") == "none"


def test_a_model_is_asked_for_once_per_cooldown_and_model():
    key = request_key("fraud", "1.0.0", ["b", "a", "a"])
    assert key == request_key("fraud", "1.0.0", ["a", "b"]) != request_key("fraud", "1.1.0", ["a", "b"])
    asked = remember_request({}, POLICY, key, 1000.0)
    assert not may_ask(asked, POLICY, "fraud", 1099.0) and may_ask(asked, POLICY, "other", 1099.0)
    # the same may be asked again: its answer may have been a failure
    assert may_ask(asked, POLICY, "fraud", 1100.0)


def test_the_memory_of_requests_is_bounded():
    asked: dict[str, float] = {}
    for number in range(500):
        asked = remember_request(asked, POLICY, f"drift:fraud:{number}:x", float(number))
    assert len(asked) == POLICY.remembered_keys and "drift:fraud:499:x" in asked


def signs(**changed):
    """Signs of a drift of amounts, with nothing else to see."""
    return Signs(**{
        "emptied": (), "drifting": frozenset({"amount", "*"}), "amount": Change(2_000, 2_500), "crowded": Change(0.001, 0.002),
        "new_device": Change(0.03, 0.035), "stopped": Change(0.01, 0.012), **changed,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind", "why"),
    [
        ({}, "population", "by amount"),
        ({"drifting": frozenset({"*"})}, "population", "by all columns together"),
        ({"stopped": None}, "population", "than the model was trained on, by amount"),
        ({"emptied": ("mcc",), "crowded": Change(0.001, 0.3)}, "producer", "mcc turned empty"),
        ({"amount": Change(2_000, 210_000)}, "producer", "100 times"),
        ({"amount": Change(2_000, 19)}, "producer", "0.01 times"),
        # twice the amounts are no other unit, nor is a hundredth of them where amounts do not drift
        ({"amount": Change(2_000, 4_000)}, "population", "by amount"),
        ({"amount": Change(2_000, 20), "drifting": frozenset({"mcc"})}, "population", "by mcc"),
        ({"amount": Change(2_000, 0)}, "population", "by amount"),
        ({"crowded": Change(0.001, 0.18)}, "attack", "18.0% (0.1% before)"),
        # twice nothing is nothing
        ({"crowded": Change(0.001, 0.012)}, "population", "by amount"),
        ({"new_device": Change(0.03, 0.1), "stopped": Change(0.01, 0.05)}, "attack", "new to their card"),
        ({"new_device": Change(0.03, 0.1)}, "population", "by amount"),
        # who moves to online shops has a new device too
        ({"new_device": Change(0.03, 0.1), "stopped": Change(0.01, 0.05), "drifting": frozenset({"channel"})}, "population", "channel"),
        ({"crowded": None, "new_device": None, "amount": None}, "population", "by amount"),
    ],
)  # fmt: skip
def test_the_cause_of_a_drift_is_the_first_that_its_signs_speak_for(changed, kind, why):
    found = likely_cause(signs(**changed))
    assert found.kind == kind and why in found.why, found
    stopped = changed.get("stopped", Change(0.01, 0.012))
    assert ("are reviewed or declined" in found.why) == (stopped is not None)
