"""Count and sum of a card's payments in four windows, as a user of a stream processor would write it."""

from __future__ import annotations

from datetime import datetime

HOUR_MS = 3_600_000
WINDOWS_MS = (HOUR_MS, 24 * HOUR_MS, 7 * 24 * HOUR_MS, 30 * 24 * HOUR_MS)
#: payments of a card: (event time in ms since 1970, amount in minor units), oldest first; lists, as JSON brings them back
Kept = list[list[int]]


def epoch_ms(event_time: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time."""
    return round(datetime.fromisoformat(event_time).timestamp() * 1000)


def add(kept: Kept, event_ms: int, amount: int) -> list[int]:
    """Keep a payment, forget those before the longest window; returns four counts, then four sums, itself included.

    Windows are (t - W, t]. Payments come in order of event time.
    """
    kept.append([event_ms, amount])
    gone = 0
    while kept[gone][0] <= event_ms - WINDOWS_MS[-1]:
        gone += 1
    del kept[:gone]
    counts, sums = [0, 0, 0, 0], [0, 0, 0, 0]
    count = total = 0
    window = 0
    for at, value in reversed(kept):
        while at <= event_ms - WINDOWS_MS[window]:
            counts[window], sums[window] = count, total
            window += 1
        count += 1
        total += value
    for longer in range(window, 4):
        counts[longer], sums[longer] = count, total
    return counts + sums
