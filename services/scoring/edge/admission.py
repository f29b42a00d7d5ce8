"""How much may be in flight, learned from how long answers took: additive increase, multiplicative decrease. Pure.

Little's law: what is in flight divided by the throughput is the time that each one takes. So a bound on what is in
flight is a bound on latency, and the right bound follows the throughput, which nobody knows beforehand and which
falls when a broker collects its garbage. As TCP does (Chiu and Jain 1989), the gate opens slowly while answers leave
their callers time, and closes fast when they do not.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.scoring.decision.deadline import LATE_SHARE


@dataclass(frozen=True)
class GateRules:
    """Sizes in transactions. An answer is late once it took ``late_share`` of its caller's deadline."""

    #: where it begins, and where it comes back to when nobody pushes: room for what arrives while the machine stands still for a moment
    first: float = 128.0
    #: where others take the machine, every answer is late and closing further only adds refusals
    least: float = 32.0
    most: float = 4096.0
    late_share: float = LATE_SHARE
    #: share of late answers in a window above which the gate closes
    bearable: float = 0.05
    window_s: float = 0.05
    closing: float = 0.7
    opening: float = 1.05


class Gate:
    """Counts what is in flight and says whether more may come in. Times in seconds of any one clock."""

    def __init__(self, rules: GateRules) -> None:
        self._rules = rules
        self._first = min(rules.first, rules.most)
        self.limit = self._first
        self.in_flight = 0
        self._began_s = float("-inf")
        self._done = self._late = 0
        self._was_full = False

    def enter(self, items: int) -> bool:
        """Take room for ``items``; what is alone may always enter. Pair with ``leave`` when True."""
        if self.in_flight > 0 and self.in_flight + items > self.limit:
            self._was_full = True
            return False
        self.in_flight += items
        return True

    def give_back(self, items: int) -> None:
        """Leave without having taken any time."""
        self.in_flight -= items

    def leave(self, items: int, took_s: float, deadline_s: float, now_s: float) -> None:
        """Give the room back, and learn from how long it took."""
        self.in_flight -= items
        if now_s - took_s < self._began_s:
            # it came in under the limit before this one and says nothing of this one: a stall is answered once
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
            # beyond where it began, an open gate that nobody pushes against has taught nothing
            most = rules.most if self._was_full else self._first
            self.limit = min(most, self.limit * rules.opening + 1)
        self._done = self._late = 0
        self._was_full = False
