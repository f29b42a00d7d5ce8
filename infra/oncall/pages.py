"""Stores the alerts that Alertmanager sends: one line of JSON per alert, newest last.

The file is bounded: every program of the machine reaches the webhook, and a full disk stops Kafka and Redis.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

#: above this size the older half of the file goes: 4 MB are some five thousand alerts
MAX_BYTES = 8_000_000


class InvalidPage(Exception):
    """The body is not a webhook call of Alertmanager."""


def alerts_of(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """The alerts of one webhook call (Alertmanager's format, version 4), flattened.

    Raises:
        InvalidPage: not JSON, or without a list of alerts.
    """
    try:
        alerts = json.loads(body)["alerts"]
        return [
            {
                "received_at": received_at.isoformat(),
                "status": alert["status"],
                "alert": alert["labels"].get("alertname", ""),
                "severity": alert["labels"].get("severity", ""),
                "summary": alert.get("annotations", {}).get("summary", ""),
                "description": alert.get("annotations", {}).get("description", ""),
                "runbook": alert.get("annotations", {}).get("runbook_url", ""),
                "labels": alert["labels"],
                "starts_at": alert.get("startsAt", ""),
                "ends_at": alert.get("endsAt", ""),
            }
            for alert in alerts
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidPage(f"not a webhook call of Alertmanager: {error!r}") from error


class Pages:
    """An append-only file of alerts. ``add`` returns when they are on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, alerts: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(alert) + "\n" for alert in alerts)
        with self._lock, self._path.open("a") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            if file.tell() > MAX_BYTES:
                self._forget()

    def _forget(self) -> None:
        kept = self._path.read_bytes()[-MAX_BYTES // 2 :]
        shorter = self._path.with_suffix(".tmp")
        # what the cut goes through is no whole alert
        shorter.write_bytes(kept[kept.find(b"\n") + 1 :])
        shorter.replace(self._path)

    def read(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest ``limit`` alerts, oldest first, without a last line that a crash cut short."""
        with self._lock:
            if not self._path.exists():
                return []
            text = self._path.read_text()
        complete = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line) for line in complete[-limit:]]
