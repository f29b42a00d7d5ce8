"""The summary of a run, as JSON and as text."""

from __future__ import annotations

from typing import Any

from loadtest.traffic.measuring_process import Result


def summary(produced: int, result: Result, cpu: dict[str, Any]) -> dict[str, Any]:
    """The value that ``tollgate simulate --json`` and ``replay --json`` print. ``repeats``: sent before, and not decided again."""
    return {
        "produced": produced,
        "decided": {"scored": result.scored, "degraded": result.degraded, "not_scored": result.not_scored},
        "dead_lettered": result.dead_lettered,
        "missing": result.missing,
        "duplicated": result.duplicated,
        "repeats": result.repeats,
        "latency_ms": result.latency_ms,
        "cpu_us_per_transaction": cpu,
    }


def complete(report: dict[str, Any]) -> bool:
    """Whether every transaction has exactly one outcome."""
    return bool(report["missing"] == 0 and report["duplicated"] == 0)


def lines(report: dict[str, Any], seconds: float) -> list[str]:
    """The summary as text."""
    decided, latency, cpu = report["decided"], report["latency_ms"], report["cpu_us_per_transaction"]
    out = [
        f"produced       {report['produced']:>12,} in {seconds:.1f} s ({report['produced'] / max(seconds, 1e-9):,.0f}/s)",
        f"scored         {decided['scored']:>12,}",
        f"degraded       {decided['degraded']:>12,}",
        f"not scored     {decided['not_scored']:>12,}",
        f"dead-lettered  {report['dead_lettered']:>12,}",
        f"missing        {report['missing']:>12,}",
        f"duplicated     {report['duplicated']:>12,}",
        f"repeats        {report['repeats']:>12,}",
    ]
    if latency["p50"] is not None:
        out.append("latency in ms  " + ", ".join(f"{name} {value:,.1f}" for name, value in latency.items()))
    if cpu["total"] is not None:
        shares = sorted(cpu["by_process"].items(), key=lambda item: -item[1])
        out.append(
            f"CPU            {cpu['total']:,.1f} us a transaction: "
            + ", ".join(f"{n} {v:g}" for n, v in shares if v)
        )
    return out
