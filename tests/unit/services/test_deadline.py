"""The shares of a deadline, and the order in which a decision goes without its parts as time gets short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.decision.deadline import (
    EDGE,
    EDGE_ALONE,
    STREAM,
    UNLIMITED_MS,
    left_ms,
    shadow_share_ms,
    store_wait_s,
)
from services.scoring.edge.limits import parse_deadline
from services.scoring.edge.problems import Problem
from streams.contracts.deadline import DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS, MIN_DEADLINE_MS
from streams.runtime.settings import Settings

LEFT = st.floats(-1_000, MAX_DEADLINE_MS)


def test_what_is_left_of_a_deadline() -> None:
    assert left_ms(100, 1_000, 1_030) == 70
    assert left_ms(100, 1_000, 1_130) == -30
    assert left_ms(0, 1_000, 9_000) == UNLIMITED_MS


@given(LEFT, st.integers(1, 1000))
def test_the_store_gets_its_share_of_the_time_left_within_bounds(left: float, rows: int) -> None:
    wait_s = store_wait_s(left, rows)
    assert 0.002 <= wait_s <= max(0.04, 0.0008 * rows)
    # more time left, or more to read: never a shorter wait
    assert wait_s <= store_wait_s(left + 1, rows) <= store_wait_s(left + 1, rows + 1)


def test_what_a_default_deadline_gives_the_store_and_explanations() -> None:
    assert store_wait_s(DEFAULT_DEADLINE_MS, 1) == 0.04
    assert STREAM.spare_ms(DEFAULT_DEADLINE_MS) == 10.0
    assert EDGE.spare_ms(DEFAULT_DEADLINE_MS) == 5.0
    assert EDGE_ALONE.spare_ms(10 * DEFAULT_DEADLINE_MS) == 50.0


@given(LEFT)
def test_explanations_leave_the_reserve(left: float) -> None:
    for share in (STREAM, EDGE, EDGE_ALONE):
        assert share.spare_ms(left) <= share.max_ms
        if left <= share.reserve_ms:
            assert share.spare_ms(left) <= 0
        else:
            assert 0 < share.spare_ms(left) <= share.wait_s(left) * 1000 <= left - share.reserve_ms
    assert (
        0 < STREAM.spare_ms(UNLIMITED_MS) <= STREAM.wait_s(UNLIMITED_MS) * 1000 < 4_000
    )  # a batch must be sent within seconds


@given(LEFT)
def test_the_shadow_gets_a_moment_and_is_left_out_first(left: float) -> None:
    wait_ms = shadow_share_ms(left)
    assert 0 <= wait_ms <= 5
    assert wait_ms <= shadow_share_ms(left + 1)
    if wait_ms:
        # then there are explanations too, and after both there is time for what follows
        for share in (STREAM, EDGE, EDGE_ALONE):
            assert share.spare_ms(left) > 0
            assert left - wait_ms - share.spare_ms(left) > share.reserve_ms / 2
    assert 0 < shadow_share_ms(UNLIMITED_MS) < 4_000


def without(deadline: float, card_ms: float, others_ms: float, explaining_ms: float) -> list[str]:
    """What a request goes without where state and explanations take so long."""
    wait_ms = store_wait_s(deadline, 1) * 1000
    left = deadline - min(wait_ms, others_ms)
    return [
        name
        for name, lacks in [
            ("explanations", EDGE.spare_ms(left) < explaining_ms),
            ("merchant and device features", wait_ms < others_ms),
            ("all features", wait_ms < card_ms),
        ]
        if lacks
    ]


ORDER = ["explanations", "merchant and device features", "all features"]


@given(st.floats(2.5, 7), st.floats(0.1, 1), st.floats(0.1, 1))
def test_as_time_gets_short_parts_are_left_out_in_the_order_of_the_design(
    card_ms: float, more_ms: float, explaining_ms: float
) -> None:
    seen = [
        without(deadline, card_ms, card_ms + more_ms, explaining_ms)
        for deadline in range(DEFAULT_DEADLINE_MS, 0, -1)
    ]
    assert seen[0] == []
    assert seen[-1] == ORDER
    for lacks in seen:
        assert lacks == ORDER[: len(lacks)]
    assert [len(lacks) for lacks in seen] == sorted(len(lacks) for lacks in seen)
    assert ["explanations"] in seen


@pytest.mark.parametrize("header", [str(MIN_DEADLINE_MS), "250", str(MAX_DEADLINE_MS)])
def test_a_deadline_within_the_bounds_is_taken(header: str) -> None:
    assert parse_deadline(header) == int(header)


@pytest.mark.parametrize("header", ["0", str(MAX_DEADLINE_MS + 1), "-1", "1.5", "", "\u0661", "1" * 40])
def test_another_is_refused(header: str) -> None:
    with pytest.raises(Problem) as raised:
        parse_deadline(header)
    assert raised.value.status == 422


def test_a_stack_has_the_default_unless_it_says_otherwise() -> None:
    assert Settings(home=".").deadline_ms == DEFAULT_DEADLINE_MS
