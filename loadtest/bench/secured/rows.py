"""The rows of the secured stack beside the plain one: CPU a transaction and latency, by rate, from pairs of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from loadtest.bench.harness.table import Row

#: summaries of `tollgate simulate --json`, one for each run
Summaries = Sequence[Mapping[str, Any]]
PLAIN, SECURED = "plain", "secured"


def pair_rows(rate: int, found: Mapping[str, Summaries]) -> list[Row]:
    """Two rows for each form of the stack; the secured one's have the median ratio of each run to the plain run before it."""
    rows = []
    for form in (PLAIN, SECURED):
        cpu = [run["cpu_us_per_transaction"]["total"] for run in found[form]]
        p99 = [run["latency_ms"]["p99"] for run in found[form]]
        lost = sum(run["missing"] + run["duplicated"] for run in found[form])
        name = f"{form} stack at {rate:,}/s, "
        rows += [
            Row(f"{name}CPU a transaction, all processes", cpu, "us", factor=_ratio(form, found, _cpu), note=f"missing or doubled: {lost}"),
            Row(f"{name}p99 from transaction to decision", p99, "ms", factor=_ratio(form, found, _p99), note=_servers(found[form])),
        ]  # fmt: skip
    return rows


def _cpu(run: Mapping[str, Any]) -> float:
    return float(run["cpu_us_per_transaction"]["total"])


def _p99(run: Mapping[str, Any]) -> float:
    return float(run["latency_ms"]["p99"])


def _ratio(form: str, found: Mapping[str, Summaries], value: Any) -> str:
    if form == PLAIN:
        return ""
    ratios = [value(two) / value(one) for one, two in zip(found[PLAIN], found[SECURED], strict=True)]
    return f"{median(ratios):.2f} of plain ({min(ratios):.2f} to {max(ratios):.2f})"


def _servers(runs: Summaries) -> str:
    """What Kafka and Redis took of it: TLS costs them and their clients."""
    by_process = [run["cpu_us_per_transaction"]["by_process"] for run in runs]
    parts = (f"{name} {median(one.get(name, 0.0) for one in by_process):.0f} us" for name in ("kafka", "redis"))  # fmt: skip
    return ", ".join(parts)
