"""The gate before a simulated server: at twice the capacity most of it is used, and who is let in does not wait long."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import numpy as np
import pytest

from services.scoring.edge.admission import Gate, GateRules

DEADLINE_S = 0.1


class Served:
    """What came of a run: latencies in s of those let in (after the warm-up), refusals, decisions a second."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.refused = 0
        self.in_time = 0


def serve(
    gate: Gate, offered: float, capacity: Callable[[float], float], seconds: float, warm_s: float = 1.0
) -> Served:
    """One server, first come first served, ``capacity(t)`` requests a second; arrivals by chance at ``offered``."""
    draw = random.Random(5)
    now_s = free_s = 0.0
    leaving: list[tuple[float, float]] = []
    out = Served()
    while now_s < seconds:
        now_s += draw.expovariate(offered)
        while leaving and leaving[0][0] <= now_s:
            done_s, came_s = heapq.heappop(leaving)
            gate.leave(1, done_s - came_s, DEADLINE_S, done_s)
            if came_s > warm_s:
                out.latencies_s.append(done_s - came_s)
                out.in_time += done_s - came_s <= DEADLINE_S
        if not gate.enter(1):
            out.refused += now_s > warm_s
            continue
        free_s = max(free_s, now_s) + 1 / capacity(now_s)
        heapq.heappush(leaving, (free_s, now_s))
    return out


@pytest.mark.parametrize("capacity", [500.0, 1000.0, 4000.0])
@pytest.mark.parametrize("factor", [1.2, 2.0, 5.0])
def test_overload_costs_no_goodput_and_no_deadlines(capacity: float, factor: float) -> None:
    served = serve(Gate(GateRules()), factor * capacity, lambda _: capacity, 11.0)
    assert served.in_time / 10 > 0.97 * capacity
    assert np.percentile(served.latencies_s, 99) < DEADLINE_S
    assert served.refused > 0.8 * (factor - 1) * capacity * 10


def test_without_a_gate_everybody_is_late() -> None:
    """What the gate is for: the same load without one."""
    served = serve(Gate(GateRules(first=1e9, most=1e9, least=1e9)), 2000, lambda _: 1000.0, 11.0)
    assert served.in_time == 0


def test_below_capacity_nobody_is_refused() -> None:
    served = serve(Gate(GateRules()), 700, lambda _: 1000.0, 11.0)
    assert served.refused == 0


@pytest.mark.parametrize("stall_s", [0.05, 0.08])
def test_a_machine_that_stands_still_now_and_then_is_no_overload(stall_s: float) -> None:
    """Below capacity, nothing is served for a moment every half second: nobody is refused for it."""
    gate = Gate(GateRules())
    draw = random.Random(7)
    now_s = free_s = 0.0
    leaving: list[tuple[float, float]] = []
    while now_s < 20:
        now_s += draw.expovariate(600)
        while leaving and leaving[0][0] <= now_s:
            done_s, came_s = heapq.heappop(leaving)
            gate.leave(1, done_s - came_s, DEADLINE_S, done_s)
        assert gate.enter(1), f"refused at {now_s:.2f} s with room for {gate.limit:.0f}"
        free_s = max(free_s, now_s)
        if free_s % 0.5 < stall_s:
            free_s += stall_s - free_s % 0.5
        free_s += 1 / 2000
        heapq.heappush(leaving, (free_s, now_s))


def test_a_server_that_slows_down_is_followed_and_comes_back() -> None:
    def capacity(now_s: float) -> float:
        return 500.0 if 4 <= now_s < 8 else 2000.0

    gate = Gate(GateRules())
    served = serve(gate, 4000, capacity, 12.0)
    late = sum(latency_s > DEADLINE_S for latency_s in served.latencies_s)
    # those who were inside when it slowed down are late, and few others
    assert late < 0.02 * len(served.latencies_s)
    assert served.in_time > 0.93 * (7 * 2000 + 4 * 500)


def test_a_burst_after_a_quiet_time_is_let_in_up_to_the_limit() -> None:
    gate = Gate(GateRules(first=64))
    assert sum(gate.enter(1) for _ in range(1000)) == 64


def test_a_stall_is_answered_once() -> None:
    gate = Gate(GateRules(first=64))
    assert all(gate.enter(1) for _ in range(64))
    for number in range(64):
        # all of them late, told of over three windows' time
        gate.leave(1, 1.0, DEADLINE_S, 1.0 + number * 0.003)
    assert gate.limit == 64 * 0.7


def test_what_is_alone_may_enter_and_most_is_kept() -> None:
    gate = Gate(GateRules(first=10, most=20))
    assert gate.enter(500)
    assert not gate.enter(1)
    gate.leave(500, 0.01, DEADLINE_S, 0.0)
    for step in range(100):
        assert gate.enter(10)
        gate.enter(1000)
        gate.leave(10, 0.001, DEADLINE_S, step * 0.1)
    assert gate.limit == 20
    assert gate.in_flight == 0


def test_a_gate_that_nobody_pushes_keeps_to_the_most() -> None:
    gate = Gate(GateRules(most=50))
    for step in range(100):
        assert gate.enter(1)
        gate.leave(1, 0.001, DEADLINE_S, step * 0.1)
    assert gate.limit == 50


def test_callers_with_time_are_not_late() -> None:
    gate = Gate(GateRules(first=64))
    for step in range(50):
        assert gate.enter(1)
        gate.leave(1, 2.0, 10.0, step * 10)
    assert gate.limit == 64
    for step in range(50):
        assert gate.enter(1)
        gate.leave(1, 2.0, 1.0, 1000 + step * 10)
    assert gate.limit == 32
