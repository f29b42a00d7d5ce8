"""What a load run must keep to pass. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sla:
    """At most: milliseconds at p99, share of calls that fail, transactions accepted and never decided."""

    p99_ms: float = 100.0
    error_share: float = 0.001
    missing: int = 0


@dataclass(frozen=True)
class Totals:
    """What a run came to."""

    requests: int
    failures: int
    missing: int
    p50_ms: float
    p99_ms: float


def breaches(sla: Sla, totals: Totals) -> list[str]:
    """In words what was not kept; empty: passed. A run without a single call proves nothing and fails."""
    if totals.requests == 0:
        return ["no call was made"]
    out = []
    if totals.p99_ms > sla.p99_ms:
        out.append(f"p99 {totals.p99_ms:.0f} ms is above {sla.p99_ms:g} ms")
    share = totals.failures / totals.requests
    if share > sla.error_share:
        out.append(f"{share:.2%} of the calls failed, {sla.error_share:.2%} may")
    if totals.missing > sla.missing:
        out.append(f"{totals.missing} transactions were accepted and not decided, {sla.missing} may be")
    return out
