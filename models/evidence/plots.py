"""Plots as inline SVG: they take the page's own colours, and need nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from models.training.gates.curves import Bin, Curves
from models.training.gates.fairness import GroupRate

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
#: of a row in the plot of groups, and of its column of names
_ROW, _NAMES = 24, 236
Scale = Callable[[float], float]


class Side(NamedTuple):
    """A model in a plot: CSS class and name."""

    css: str
    name: str


def precision_recall(sides: Sequence[tuple[Side, Curves]]) -> str:
    """Precision against recall; the better model's line is higher."""
    x, y = _linear(0, 1, LEFT, WIDTH - RIGHT), _linear(0, 1, HEIGHT - BOTTOM, TOP)
    ticks = [(value, f"{value:.0%}") for value in (0, 0.25, 0.5, 0.75, 1)]
    parts = [*_axes(x, y, ticks, ticks, "recall: share of the frauds that are found", "precision")]
    for side, points in sides:
        line = " ".join(
            f"{x(r):.1f},{y(p):.1f}" for r, p in zip(points.recall, points.precision, strict=True)
        )
        parts.append(f'<polyline class="line {side.css}" points="{line}"/>')
    return _svg("Precision against recall", parts)


def reliability(sides: Sequence[tuple[Side, Curves]]) -> str:
    """Share of frauds observed against scores, both logarithmic; on the diagonal a score is a probability."""
    least = 3e-4
    x, y = _log(least, 1, LEFT, WIDTH - RIGHT), _log(least, 1, HEIGHT - BOTTOM, TOP)
    ticks = [(value, f"{value:g}".replace("0.", ".")) for value in (0.001, 0.01, 0.1, 1)]
    parts = [*_axes(x, y, ticks, ticks, "score", "share of frauds")]
    parts.append(f'<line class="guide" x1="{x(least)}" y1="{y(least)}" x2="{x(1)}" y2="{y(1)}"/>')
    for shift, (side, points) in zip((-2.5, 2.5), sides, strict=False):
        parts += [_dot(found, side, x, y, shift, least) for found in points.reliability]
    return _svg("Calibration", parts)


def groups(rates: Sequence[GroupRate], limits: tuple[float, float]) -> str:
    """Each group's ratio to all others with its interval; between the two lines the four-fifths rule holds."""
    height = TOP + _ROW * len(rates) + BOTTOM
    least = min(0.25, *(rate.low for rate in rates))
    most = max(4.0, *(rate.high for rate in rates))
    x = _log(max(least, 0.02), min(most, 50.0), _NAMES, 2 * WIDTH - RIGHT)
    bottom = height - BOTTOM
    parts = []
    for value in (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 10, 20):
        if max(least, 0.02) <= value <= min(most, 50.0):
            parts.append(
                f'<line class="grid" x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{bottom}"/>'
            )
            parts.append(
                f'<text class="tick" x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>'
            )
    parts += [
        f'<line class="limit" x1="{x(v):.1f}" y1="{TOP}" x2="{x(v):.1f}" y2="{bottom}"/>' for v in limits
    ]
    for place, rate in enumerate(rates):
        y = TOP + _ROW * (place + 0.5)
        name = escape(f"{rate.dimension.replace('_', ' ')}: {rate.group}")
        parts += [
            f'<text class="name" x="{_NAMES - 12}" y="{y + 4:.1f}" text-anchor="end">{name}</text>',
            f'<line class="whisker {rate.result}" x1="{x(rate.low):.1f}" y1="{y:.1f}" x2="{x(rate.high):.1f}" y2="{y:.1f}"/>',
            f'<rect class="old" x="{x(rate.live_ratio) - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
            f'<circle class="dot {rate.result}" cx="{x(rate.ratio):.1f}" cy="{y:.1f}" r="5">'
            f"<title>{name}: {rate.ratio:.2f} ({rate.low:.2f} to {rate.high:.2f}), live {rate.live_ratio:.2f}, n {rate.n:,}</title></circle>",
        ]
    label = f'<text class="label" x="{(_NAMES + 2 * WIDTH) / 2:.0f}" y="{height - 6}" text-anchor="middle">ratio to all others (logarithmic)</text>'
    return _svg("Groups of customers", [*parts, label], 2 * WIDTH, height)


def shares(rows: Sequence[tuple[str, Sequence[tuple[Side, float, str]]]]) -> str:
    """Bars of shares from 0 to 1: (name, [(model, share, text)])."""
    each = 22
    block = each * max(len(bars) for _, bars in rows) + 14
    height = TOP + block * len(rows) + 6
    x = _linear(0, 1, 96, WIDTH - 100)
    parts = []
    for place, (name, bars) in enumerate(rows):
        top = TOP + place * block
        middle = top + each * len(bars) / 2 + 4
        parts.append(f'<text class="name" x="84" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for number, (side, share, text) in enumerate(bars):
            y = top + number * each
            parts += [
                f'<rect class="track" x="{x(0)}" y="{y}" width="{x(1) - x(0):.1f}" height="{each - 6}" rx="2"/>',
                f'<rect class="bar {side.css}" x="{x(0)}" y="{y}" width="{max(1.0, x(share) - x(0)):.1f}" height="{each - 6}" rx="2"/>',
                f'<text class="tick" x="{x(1) + 8:.1f}" y="{y + 12}">{escape(text)}</text>',
            ]
    return _svg("Fraud money that is stopped", parts, WIDTH, height)


def _dot(found: Bin, side: Side, x: Scale, y: Scale, shift: float, least: float) -> str:
    place = x(max(found.predicted, least)) + shift
    low, high, middle = (y(max(value, least)) for value in (found.low, found.high, found.observed))
    return (
        f'<line class="whisker {side.css}" x1="{place:.1f}" y1="{low:.1f}" x2="{place:.1f}" y2="{high:.1f}"/>'
        f'<circle class="dot {side.css}" cx="{place:.1f}" cy="{middle:.1f}" r="3.5">'
        f"<title>score {found.predicted:.4f}: {found.observed:.4f} ({found.low:.4f} to {found.high:.4f}), {found.n:,} rows</title></circle>"
    )


def _axes(
    x: Scale, y: Scale, across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]], below: str, beside: str
) -> list[str]:  # fmt: skip
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value, text in across:
        parts.append(f'<line class="grid" x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
        )
    for value, text in up:
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y(value):.1f}" x2="{right}" y2="{y(value):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    parts.append(
        f'<text class="label" x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{below}</text>'
    )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">{beside}</text>'
    )
    return parts


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (min(max(value, low), high) - low) / (high - low) * (end - start)


def _log(low: float, high: float, start: float, end: float) -> Scale:
    inner = _linear(math.log(low), math.log(high), start, end)
    return lambda value: inner(math.log(min(max(value, low), high)))


def _svg(title: str, parts: Sequence[str], width: int = WIDTH, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
