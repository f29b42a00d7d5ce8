"""Questions to Prometheus, over its HTTP API (version 1)."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from streams.runtime.secured import authorization

ANSWER_WITHIN_S = 5.0


class PrometheusUnavailable(Exception):
    """Prometheus does not answer, or refuses the query."""

    exit_code = 3


def values(prometheus: str, query: str) -> list[tuple[dict[str, str], float]]:
    """The labels and the value of each series that the query gives now.

    Raises:
        PrometheusUnavailable
    """
    found = ask(prometheus, "query", {"query": query})
    return [(series["metric"], float(series["value"][1])) for series in found]


def ask(prometheus: str, endpoint: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
    """The result of ``query`` or ``query_range``, as Prometheus' API describes it.

    Raises:
        PrometheusUnavailable
    """
    url = f"{prometheus}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
    try:
        request = urllib.request.Request(url, headers=authorization(prometheus))
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except urllib.error.HTTPError as error:
        text = error.read(300).decode(errors="replace")
        raise PrometheusUnavailable(f"{prometheus} answered {error.code}: {text}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrometheusUnavailable(f"Prometheus at {prometheus} does not answer: {error}") from error
