"""Firing alerts and silences, from Alertmanager's API (version 2)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from streams.runtime.secured import authorization

ANSWER_WITHIN_S = 3.0


class AlertmanagerUnavailable(Exception):
    """Alertmanager does not answer, or refuses."""


class Firing(NamedTuple):
    """One firing alert; ``since``: RFC 3339; ``process``: whom it is about, "" where it is about no single one."""

    alert: str
    severity: str
    since: str
    summary: str
    runbook: str
    silenced: bool
    process: str = ""


def firing(alertmanager: str) -> list[Firing]:
    """The firing alerts, pages first, then the oldest first; silenced and inhibited ones are marked, not left out.

    Raises:
        AlertmanagerUnavailable
    """
    order = {"page": 0, "ticket": 1, "info": 2}
    found = [
        Firing(
            alert["labels"].get("alertname", ""),
            alert["labels"].get("severity", ""),
            alert["startsAt"],
            alert["annotations"].get("summary", ""),
            alert["annotations"].get("runbook_url", ""),
            alert["status"]["state"] != "active",
            alert["labels"].get("process", ""),
        )
        for alert in _call(alertmanager, "/api/v2/alerts")
    ]
    return sorted(found, key=lambda one: (one.silenced, order.get(one.severity, 3), one.since))


def silence(alertmanager: str, alert: str, now: datetime, length: timedelta, by: str, why: str) -> str:
    """Silence one alert for a while; returns the silence's id.

    Raises:
        AlertmanagerUnavailable
    """
    body = {
        "matchers": [{"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(),
        "endsAt": (now + length).isoformat(),
        "createdBy": by,
        "comment": why,
    }
    return str(_call(alertmanager, "/api/v2/silences", body)["silenceID"])


def _call(alertmanager: str, path: str, body: Any = None) -> Any:
    data, url = None if body is None else json.dumps(body).encode(), f"{alertmanager}{path}"
    try:
        headers = {"Content-Type": "application/json", **authorization(alertmanager)}
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AlertmanagerUnavailable(
            f"{url} answered {error.code}: {error.read(300).decode(errors='replace')}"
        ) from error
    except (OSError, ValueError) as error:
        raise AlertmanagerUnavailable(f"Alertmanager at {url} does not answer: {error}") from error
