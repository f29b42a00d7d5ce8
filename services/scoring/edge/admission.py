"""Admission control: a limit on transactions in flight, learned from latencies (slow increase, fast decrease). Pure.

Little's law: latency is the number in flight divided by the throughput. A limit on the number in flight is therefore a
limit on latency. The right limit depends on the throughput, which is unknown and changes, for instance while the broker
collects garbage. As in TCP (Chiu and Jain 1989), the limit grows slowly while answers are early enough and falls fast when
they are late.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.scoring.decision.deadline import LATE_SHARE


@dataclass(frozen=True)
class GateRules:
    """Limits in transactions. An answer is late once it took ``late_share`` of its caller's deadline."""

    #: the first limit, to which a lowered one returns even without load: room for what arrives during a short stall of the machine
    first: float = 128.0
    #: lower bound: where other processes use the CPUs, every answer is late, and a lower limit only adds refusals
    least: float = 32.0
    most: float = 4096.0
    late_share: float = LATE_SHARE
    #: share of late answers in a window above which the limit falls
    bearable: float = 0.05
    window_s: float = 0.05
    closing: float = 0.7
    opening: float = 1.05


class Gate:
    """Counts transactions in flight and decides whether more may enter. Times in seconds, all of one clock."""

    def __init__(self, rules: GateRules) -> None:
        self._rules = rules
        self._first = min(rules.first, rules.most)
        self.limit = self._first
        self.in_flight = 0
        self._began_s = float("-inf")
        self._done = self._late = 0
        self._was_full = False

    def enter(self, items: int) -> bool:
        """Admit ``items`` if the limit allows; when nothing is in flight, always. After True, call ``leave`` or ``give_back``."""
        if self.in_flight > 0 and self.in_flight + items > self.limit:
            self._was_full = True
            return False
        self.in_flight += items
        return True

    def give_back(self, items: int) -> None:
        """Leave without a measurement."""
        self.in_flight -= items

    def leave(self, items: int, took_s: float, deadline_s: float, now_s: float) -> None:
        """Leave, and learn from the time that it took."""
        self.in_flight -= items
        if now_s - took_s < self._began_s:
            # admitted under an earlier limit: not counted against this one, so one stall lowers the limit once
            return
        self._done += items
        if took_s > self._rules.late_share * deadline_s:
            self._late += items
        if now_s - self._began_s >= self._rules.window_s:
            self._learn(now_s)

    def _learn(self, now_s: float) -> None:
        rules = self._rules
        self._began_s = now_s
        if self._late > rules.bearable * self._done:
            self.limit = max(rules.least, self.limit * rules.closing)
        elif self._was_full or self.limit < self._first:
            # above the first limit, grow only when it was reached: otherwise nothing was learned about it
            most = rules.most if self._was_full else self._first
            self.limit = min(most, self.limit * rules.opening + 1)
        self._done = self._late = 0
        self._was_full = False
