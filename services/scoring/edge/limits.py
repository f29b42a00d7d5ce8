"""Limits of the HTTP edge: sizes, transactions in flight, and a rate per tenant or API key."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from services.scoring.edge.problems import Problem
from streams.contracts.deadline import MAX_DEADLINE_MS, MIN_DEADLINE_MS

MAX_BUCKETS = 10_000


@dataclass(frozen=True)
class Limits:
    """Limits of one replica. ``tenant_rate``: transactions a second per tenant; a burst may use ``burst_s`` seconds of it at once."""

    body_bytes: int = 65_536
    batch_bytes: int = 4 * 1024 * 1024
    batch_items: int = 1000
    #: upper bound of transactions in flight, for singles and batches each; the gates learn the actual limit below it
    in_flight: int = 4096
    tenant_rate: float = 50_000.0
    burst_s: float = 2.0
    #: labels a second per source; a file of labels goes through Kafka
    label_rate: float = 500.0


def limits_from_environment() -> Limits:
    """Default limits, overridden by ``TOLLGATE_HTTP_IN_FLIGHT`` and ``TOLLGATE_TENANT_RATE``.

    Raises:
        ValueError: one of the variables is not a number above 0.
    """
    in_flight = int(os.environ.get("TOLLGATE_HTTP_IN_FLIGHT", Limits.in_flight))
    rate = float(os.environ.get("TOLLGATE_TENANT_RATE", Limits.tenant_rate))
    if in_flight < 1 or not 0 < rate < float("inf"):
        raise ValueError("TOLLGATE_HTTP_IN_FLIGHT and TOLLGATE_TENANT_RATE must be above 0")
    return Limits(in_flight=in_flight, tenant_rate=rate)


class Quotas:
    """Rate limit per value of one field (token bucket: time refills it, each event takes a token)."""

    def __init__(self, field: str, rate: float, burst_s: float) -> None:
        """``rate``: events a second; ``burst_s``: so many seconds of it may come at once."""
        self._field = field
        self._rate, self._burst_s = rate, burst_s
        # value -> (tokens, time of that count in seconds), least recently used first
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, value: str, now_s: float) -> None:
        """Take one token of a value.

        Raises:
            Problem: 429, its rate is used up.
        """
        if not self.take(value, 1, now_s):
            raise self.refusal()

    def take(self, value: str, count: int, now_s: float, rate: float | None = None) -> int:
        """Take up to ``count`` tokens of a value; returns how many were taken. ``rate``: of this value, if it has its own."""
        rate = rate or self._rate
        burst = max(1.0, rate * self._burst_s)
        tokens, counted_s = self._buckets.pop(value, (burst, now_s))
        tokens = min(burst, tokens + max(0.0, now_s - counted_s) * rate)
        taken = min(count, int(tokens))
        self._buckets[value] = (tokens - taken, now_s)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return taken

    def refusal(self, rate: float | None = None) -> Problem:
        """429: the rate is used up."""
        text = f"this {self._field} exceeds {rate or self._rate:g} a second"
        return Problem(429, "over_quota", text, self._field, retry_after_s=1)


def parse_deadline(header: str) -> int:
    """The value of ``X-Deadline-Ms``, milliseconds.

    Raises:
        Problem: 422, not a whole number within the bounds of a deadline.
    """
    whole = header.isascii() and header.isdecimal() and len(header) <= len(str(MAX_DEADLINE_MS))
    if not whole or not MIN_DEADLINE_MS <= int(header) <= MAX_DEADLINE_MS:
        text = f"X-Deadline-Ms must be a whole number from {MIN_DEADLINE_MS} to {MAX_DEADLINE_MS}"
        raise Problem(422, "deadline", text, "X-Deadline-Ms")
    return int(header)
