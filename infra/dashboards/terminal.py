"""A dashboard drawn in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import plotext

from infra.dashboards.definition import Panel, Unit
from infra.dashboards.series import Series

_HEIGHT = 11
#: beyond these, curves cannot be told apart
_MOST = 8


def drawn(panel: Panel, series: Sequence[Series], width: int, color: bool) -> str:
    """A panel as text: title, curves with their newest values, and how to read it."""
    known = [one for one in series if any(value is not None for value in one.values)]
    known.sort(key=lambda one: -max(value for value in one.values if value is not None))
    head = f"{panel.title} ({_UNITS[panel.unit]})"
    if not known:
        return f"{head}\n  no data yet\n  {panel.says}\n"
    return f"{head}\n{_plot(known[:_MOST], panel.unit, width, color)}\n{_newest(known, panel.unit)}\n  {panel.says}\n"


_UNITS: dict[Unit, str] = {"s": "seconds", "share": "share", "reqps": "a second", "bytes": "MB", "short": "number"}  # fmt: skip


def _plot(series: Sequence[Series], unit: Unit, width: int, color: bool) -> str:
    per = 1e6 if unit == "bytes" else 1.0
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.theme("clear" if not color else "pro")
    plotext.plotsize(width, _HEIGHT)
    for one in series:
        points = [
            (at, value / per) for at, value in zip(one.times, one.values, strict=True) if value is not None
        ]
        plotext.plot([at for at, _ in points], [value for _, value in points], marker="braille")
    first, last = series[0].times[0], series[0].times[-1]
    ticks = [first + (last - first) * i / 4 for i in range(5)]
    plotext.xticks(ticks, [f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}" for at in ticks])
    highest = max(value / per for one in series for value in one.values if value is not None)
    plotext.ylim(0, highest * 1.05 if highest > 0 else 1)
    text: str = plotext.build()
    return (text if color else plotext.uncolorize(text)).rstrip("\n")


def _newest(series: Sequence[Series], unit: Unit) -> str:
    said = [f"{one.name} {shown(_last(one), unit)}" for one in series[:_MOST]]
    if len(series) > _MOST:
        said.append(f"and {len(series) - _MOST} more")
    return "  now: " + ", ".join(said)


def _last(one: Series) -> float | None:
    return next((value for value in reversed(one.values) if value is not None), None)


def shown(value: float | None, unit: Unit) -> str:
    """A value with its unit, at the precision that people read."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "share":
        return f"{value:.1%}"
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    if unit == "s":
        return f"{value * 1000:,.1f} ms" if abs(value) < 10 else f"{value:,.0f} s"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"
    return f"{text}/s" if unit == "reqps" else text
