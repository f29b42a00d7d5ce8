"""Alertmanager as a stack starts it: who is told, what is kept quiet as a consequence of what, and what a person silences."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra import stack
from infra.oncall.alerts import firing
from infra.stack.ports import answers, port_of
from infra.stack.tools import find_tools
from streams.runtime.settings import Settings
from tests.support.running import run_cli
from tests.support.waiting import STALL_S, until

BUDGETS = {"SloBurnLatency", "SloBurnFreshness", "SloBurnHttp"}
LATE = {"DecisionLatencyHigh", "ConsumerLagGrowing", "DecisionsDegraded", "FeaturesStale"}
#: what an alert of the present says keeps the one of its budget quiet: they are tried apart
TOGETHER = (
    {*LATE, "SloBurnHttp", "DecisionsNotScored", "DecisionsStopped"},
    {*BUDGETS, "ConsumerLagGrowing", "DecisionsDegraded", "SloBurnDecided"},
)


@pytest.fixture(scope="module")
def alerting(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """Settings of a stack of which Alertmanager and the on-call receiver run."""
    if find_tools().alertmanager is None:
        pytest.skip("Alertmanager is not installed: apt-get install prometheus-alertmanager")
    settings = stack.settings_for(tmp_path_factory.mktemp("alerting"), free_port_base())
    settings = stack.start(settings, only=("redis", "alertmanager", "oncall"), wait_s=60)
    try:
        ports = [port_of(settings.alertmanager), port_of(settings.oncall)]
        until(lambda: all(map(answers, ports)), STALL_S, f"answers on ports {ports}")
        yield settings
    finally:
        stack.stop(settings, purge=True)


def tell(settings: Settings, labels: list[dict[str, str]], *, over: bool = False) -> None:
    """Tell Alertmanager, as Prometheus does, that alerts fire, or that they do not any more."""
    now = datetime.now(UTC)
    ends = now if over else now + timedelta(hours=1)
    alerts = [
        {"labels": each, "startsAt": (now - timedelta(minutes=1)).isoformat(), "endsAt": ends.isoformat()}
        for each in labels
    ]
    request = urllib.request.Request(
        f"{settings.alertmanager}/api/v2/alerts",
        data=json.dumps(alerts).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=STALL_S).close()


def quiet(settings: Settings) -> set[str]:
    return {one.alert for one in firing(settings.alertmanager) if one.silenced}


def test_an_alert_reaches_the_on_call_receiver(alerting: Settings) -> None:
    tell(alerting, [{"alertname": "ParityBroken", "severity": "page"}])

    def pages() -> Any:
        with urllib.request.urlopen(f"{alerting.oncall}/pages", timeout=STALL_S) as answer:
            return json.load(answer)

    assert [page["alert"] for page in until(pages, STALL_S, "the page of the alert")] == ["ParityBroken"]
    shown = run_cli(alerting, "pages", "--history", "1")
    assert shown.returncode == 1 and "ParityBroken" in shown.stdout and "firing" in shown.stdout, shown.stderr
    tell(alerting, [{"alertname": "ParityBroken", "severity": "page"}], over=True)


@pytest.mark.parametrize(
    ("cause", "consequences"),
    [
        ({"alertname": "Recovering", "severity": "info", "quiets": "alerts"}, LATE),
        ({"alertname": "Recovering", "severity": "info", "quiets": "budgets"}, BUDGETS),
        ({"alertname": "StreamScoringDown", "severity": "page"}, {*LATE, *BUDGETS, "DecisionsStopped"}),
        ({"alertname": "ProcessorDown", "severity": "page"}, {*LATE, *BUDGETS, "DecisionsStopped"}),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_a_part_that_was_away_explains_is_quiet_and_a_missing_model_is_not(
    alerting: Settings, cause: dict[str, str], consequences: set[str]
) -> None:
    for together in TOGETHER:
        told = [cause, *({"alertname": alert, "severity": "page"} for alert in together)]
        tell(alerting, told)
        expected = consequences & together
        until(lambda expected=expected: quiet(alerting) == expected, STALL_S, f"only {expected} to be quiet")  # type: ignore[misc]
        tell(alerting, told, over=True)
        until(lambda: not firing(alerting.alertmanager), STALL_S, "all to be over")


def test_a_person_silences_one_alert(alerting: Settings) -> None:
    told = [{"alertname": alert, "severity": "page"} for alert in ("LogLost", "ParityBroken")]
    tell(alerting, told)
    done = run_cli(alerting, "silence", "LogLost", "--for", "30m", "--why", "known")
    assert done.returncode == 0, done.stderr
    until(lambda: quiet(alerting) == {"LogLost"}, STALL_S, "the silence to be heard")
