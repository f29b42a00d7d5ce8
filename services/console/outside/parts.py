"""Questions to the rest of the stack, answered by the functions that the CLI calls. Tests replace this class by one that answers from memory."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from infra import stack
from infra.oncall.alerts import silence
from infra.oncall.diagnosis import diagnose
from infra.oncall.pages import Pages
from infra.stack.tools import CHECKOUT
from services.cli.audit import checked_chain, newest_entries
from services.console.outside.models import Models
from services.console.outside.payments import Payments
from services.console.outside.remembered import Remembered
from services.console.problems import unknown
from streams.runtime.settings import Settings

RUNBOOKS = CHECKOUT / "infra" / "runbooks"
#: how long an answer about the whole stack is good for
STATUS_S, LAG_S = 10.0, 10.0
METRICS_WITHIN_S = 2.0


class Outside(Payments, Models):
    """The parts of one stack, as its console asks them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.status = Remembered(self._status, STATUS_S)
        self.lag = Remembered(self._lag, LAG_S)
        self.doctor = Remembered(self._doctor, STATUS_S)

    def _status(self) -> dict[str, Any]:
        """As ``tollgate status --json``, without passwords."""
        settings = self.settings
        return {**stack.report(settings), "redis": settings.redis_shown}

    def _doctor(self) -> dict[str, Any]:
        """As ``tollgate doctor --live --json``."""
        found = diagnose(self.settings)
        return {"healthy": found.healthy, "findings": [each.as_dict() for each in found.findings]}

    def _lag(self) -> list[dict[str, Any]] | None:
        """Records that each group has not read yet, by topic, as oncall sees them; None while it does not answer."""
        url = f"http://127.0.0.1:{self.settings.metrics_port('oncall')}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=METRICS_WITHIN_S) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None
        found: dict[tuple[str, str], int] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name == "tollgate_consumer_lag" else ():
                place = (sample.labels["group"], sample.labels["topic"])
                found[place] = found.get(place, 0) + int(sample.value)
        return [{"group": group, "topic": topic, "records": n} for (group, topic), n in sorted(found.items())]

    def sent_pages(self, count: int) -> list[dict[str, Any]]:
        """The newest alerts that were sent."""
        return Pages(self.settings.root / "oncall" / "pages.jsonl").read(count) if count else []

    def runbooks(self) -> list[str]:
        """The alerts that have a runbook."""
        return sorted(path.stem for path in RUNBOOKS.glob("*.md"))

    def runbook(self, name: str) -> str:
        """The text of a runbook, in Markdown. Raises: Problem 404."""
        # only a name of the list is opened, whatever is asked
        if name not in self.runbooks():
            raise unknown(f"there is no runbook {name}")
        return (RUNBOOKS / f"{name}.md").read_text()

    def silence(self, alert: str, minutes: int, by: str, why: str, now: datetime) -> str:
        """Silence an alert; returns the silence's id. Raises: AlertmanagerUnavailable."""
        return silence(self.settings.alertmanager, alert, now, timedelta(minutes=minutes), by, why)

    def audit(self, count: int) -> list[dict[str, Any]]:
        """The newest entries that verify, oldest first."""
        found: list[dict[str, Any]] = msgspec.to_builtins(newest_entries(self.settings, count)[0])
        return found

    def verify_audit(self) -> dict[str, Any]:
        """As ``tollgate audit verify --json``."""
        found: dict[str, Any] = msgspec.to_builtins(checked_chain(self.settings))
        return found
