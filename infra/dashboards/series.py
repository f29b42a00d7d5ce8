"""A panel's series, asked of Prometheus."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from infra.dashboards.definition import Panel, Query
from infra.oncall.query import ask

_LABEL = re.compile(r"\{\{(\w+)\}\}")


class Series(NamedTuple):
    """One curve. ``times``: seconds since 1970; ``values``: None where there is none."""

    name: str
    times: Sequence[float]
    values: Sequence[float | None]


def series_of(prometheus: str, panel: Panel, start_s: float, end_s: float, step_s: float) -> list[Series]:
    """The curves of a panel between two times, each at the same moments.

    Raises:
        PrometheusUnavailable.
    """
    return [one for query in panel.queries for one in _asked(prometheus, query, start_s, end_s, step_s)]


def _asked(prometheus: str, query: Query, start_s: float, end_s: float, step_s: float) -> list[Series]:
    asked = {"query": query.expr, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
    answer = ask(prometheus, "query_range", asked)
    count = int((end_s - start_s) // step_s) + 1
    times = [start_s + step_s * i for i in range(count)]
    found = []
    for one in answer:
        values_at: list[float | None] = [None] * count
        for at, text in one["values"]:
            place = round((at - start_s) / step_s)
            value = float(text)
            if 0 <= place < count and math.isfinite(value):
                values_at[place] = value
        found.append(Series(_name(query.legend, one["metric"]), times, values_at))
    return found


def _name(legend: str, labels: dict[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], "-"), legend)
