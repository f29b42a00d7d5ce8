"""Which numbers are possible: intervals, and calculations on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from features.ranges import Range

#: numbers that differ by less may be equal in single precision, in which features are compared
_NEAR = 1e-6


@dataclass(frozen=True)
class Interval:
    """The numbers from ``low`` to ``high``; an open end is not itself one of them."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.low_open else number >= self.low
        return above and (number < self.high if self.high_open else number <= self.high)

    def both(self, other: Interval) -> Interval:
        """The numbers in this and in the other."""
        # of two equal ends the open one is the tighter
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low, high, low_open, not high_closed)

    def empty(self) -> bool:
        """Whether no number is left for certain; ends that single precision cannot tell apart leave one."""
        if self.low > self.high:
            return not math.isclose(self.low, self.high, rel_tol=_NEAR, abs_tol=_NEAR)
        return self.low == self.high and (self.low_open or self.high_open)

    def holds_whole(self) -> bool:
        """Whether a whole number is in it, or one that single precision cannot tell from a whole number."""
        if math.isinf(self.low) or math.isinf(self.high) or self.high - self.low > 2:
            return not self.empty()
        first, last = math.ceil(self.low - _NEAR), math.floor(self.high + _NEAR)
        first += first == self.low and self.low_open
        last -= last == self.high and self.high_open
        return first <= last


#: numbers as a union of intervals; empty: no number
Numbers = tuple[Interval, ...]
#: more parts than this are not followed
_MAX_PARTS = 2_000


def common(left: Numbers, right: Numbers, whole: bool) -> Numbers:
    """The numbers in both unions; ``whole``: only whole numbers count."""
    if len(left) * len(right) > _MAX_PARTS:
        return left
    parts = (a.both(b) for a in left for b in right)
    return tuple(part for part in parts if (part.holds_whole() if whole else not part.empty()))


def others(numbers: Numbers) -> Numbers:
    """All numbers that are not in a union of disjoint intervals given in ascending order."""
    out, low, low_open = [], -math.inf, False
    for part in numbers:
        out.append(Interval(low, part.low, low_open, not part.low_open))
        low, low_open = part.high, not part.high_open
    out.append(Interval(low, math.inf, low_open, False))
    return tuple(
        part
        for part in out
        if part.low < part.high or (part.low == part.high and not (part.low_open or part.high_open))
    )


def of_range(known: Range) -> Interval:
    return Interval(known.low, known.high)


def point(number: float) -> Interval:
    return Interval(number, number)


def added(left: Interval, right: Interval) -> Interval:
    return Interval(left.low + right.low, left.high + right.high)


def negated(value: Interval) -> Interval:
    return Interval(-value.high, -value.low)


def multiplied(left: Interval, right: Interval) -> Interval:
    ends = [_times(a, b) for a, b in product((left.low, left.high), (right.low, right.high))]
    return Interval(min(ends), max(ends))


def divided(left: Interval, right: Interval) -> Interval:
    if 0 in right:
        return Interval()
    return multiplied(left, Interval(1 / right.high, 1 / right.low))


def absolute(value: Interval) -> Interval:
    ends = sorted((abs(value.low), abs(value.high)))
    return Interval(0.0 if 0 in value else ends[0], ends[1])


def either(left: Interval, right: Interval) -> Interval:
    return Interval(min(left.low, right.low), max(left.high, right.high))


def _times(a: float, b: float) -> float:
    # an end at infinity is not a number that is reached, so zero times it is zero
    return 0.0 if a == 0 or b == 0 else a * b
