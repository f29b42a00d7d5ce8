"""A panel's series, asked of Prometheus."""

from __future__ import annotations

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

from infra.dashboards.definition import Panel, Query

_WITHIN_S = 10.0
_LABEL = re.compile(r"\{\{(\w+)\}\}")


class PrometheusUnavailable(Exception):
    """Prometheus does not answer, or refuses a query."""

    exit_code = 3


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
    values = {"query": query.expr, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
    url = f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(values)}"
    try:
        with urllib.request.urlopen(url, timeout=_WITHIN_S) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise PrometheusUnavailable(f"{query.expr}: {error.read().decode(errors='replace')[:300]}") from error
    except (OSError, ValueError) as error:
        raise PrometheusUnavailable(f"Prometheus at {prometheus}: {error}") from error
    count = int((end_s - start_s) // step_s) + 1
    times = [start_s + step_s * i for i in range(count)]
    found = []
    for one in answer["data"]["result"]:
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
