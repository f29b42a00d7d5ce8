"""Plots of the stream at each rate: latency, and CPU by process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from loadtest.bench.stream import DEADLINE_MS, Runs

#: processes below so many microseconds a transaction at every rate are one together
SMALL_US = 5.0


def plot_latency(found: Sequence[Runs], path: Path) -> None:
    """Median p50, p99 and p99.9 by rate, each run as a dot."""
    figure, axes = plt.subplots(figsize=(7, 4))
    rates = [runs.rate for runs in found]
    for name, label in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
        (line,) = axes.plot(rates, [median(runs.latency(name)) for runs in found], marker="o", label=label)
        for runs in found:
            values = runs.latency(name)
            axes.plot([runs.rate] * len(values), values, ".", color=line.get_color(), alpha=0.4)
    axes.axhline(DEADLINE_MS, color="grey", linestyle="--", linewidth=1)
    axes.annotate("deadline", (rates[0], DEADLINE_MS), textcoords="offset points", xytext=(0, 3), fontsize=8)
    axes.set_yscale("log")
    axes.set_xlabel("transactions a second")
    axes.set_ylabel("ms from transaction to decision in Kafka")
    axes.set_title("Latency by rate")
    axes.legend()
    _save(figure, path)


def plot_cpu(found: Sequence[Runs], path: Path) -> None:
    """CPU time a transaction by process, stacked, one bar a rate."""
    names = list(
        dict.fromkeys(name for runs in found for name, us in runs.cpu_by_process().items() if us >= SMALL_US)
    )
    figure, axes = plt.subplots(figsize=(7, 4.5))
    labels = [f"{runs.rate:,}/s" for runs in found]
    below = [0.0] * len(found)
    colours = matplotlib.colormaps["tab20"]
    for place, name in enumerate([*names, "others"]):
        shares = [_share(runs.cpu_by_process(), name, names) for runs in found]
        axes.bar(labels, shares, bottom=below, label=name, color=colours(place % 20))
        below = [a + b for a, b in zip(below, shares, strict=True)]
    axes.set_ylabel("CPU, microseconds a transaction")
    axes.set_title("CPU by process")
    axes.legend(fontsize=8, loc="upper right")
    _save(figure, path)


def _share(by_process: dict[str, float], name: str, named: Sequence[str]) -> float:
    if name != "others":
        return by_process.get(name, 0.0)
    return sum(us for other, us in by_process.items() if other not in named)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
