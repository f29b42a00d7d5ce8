"""What `tollgate doctor --live` says: the cause of each fault first, since when, and where to read on."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.oncall import diagnosis
from infra.oncall.alerts import AlertmanagerUnavailable, Firing
from infra.oncall.diagnosis import Diagnosis, diagnose, findings
from infra.oncall.query import PrometheusUnavailable, values
from infra.stack.health import causes
from infra.stack.health.asking import NoAnswer
from infra.stack.health.problem import Problem, runbook_of
from infra.stack.ports import settings_for
from services.cli.main import run
from services.cli.operating.live import text
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
PROCESSES = (
    "oncall", "kafka", "redis", "alertmanager", "prometheus", "processor-0", "labels-0", "scoring", "rollout-0", "archive-0",
    "trainer-0", "mlflow", "drift-0",
)  # fmt: skip
REPLICAS = ("scoring-stream-0", "scoring-http-0")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_for(tmp_path, 21_000)
    made.log_dir.mkdir()
    return made


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Any:
    """The diagnosis of a stack in which some processes are gone, silent, or have another problem."""

    def diagnosed(
        *,
        gone: dict[str, str] | None = None,
        silent: dict[str, NoAnswer] | None = None,
        parts: tuple[Problem, ...] = (),
        alerts: tuple[Firing, ...] | None = (),
        never: tuple[str, ...] = (),
    ) -> Diagnosis:
        gone = gone or {}
        listed = [
            {"name": name, "pid": 1, "state": gone.get(name, "running")} for name in (*PROCESSES, *REPLICAS)
        ]
        supervised = {
            name: {
                "start": 0 if name in never else NOW.timestamp() - 600,
                "stop": NOW.timestamp() - 42 if name in gone else 0,
            }
            for name in PROCESSES
        }

        def asked(_: str) -> list[Firing]:
            if alerts is None:
                raise AlertmanagerUnavailable("Alertmanager at http://127.0.0.1:1 does not answer: refused")
            return list(alerts)

        monkeypatch.setattr(diagnosis, "processes", lambda _: listed)
        monkeypatch.setattr(diagnosis, "supervised", lambda _: supervised)
        monkeypatch.setattr(diagnosis, "firing", asked)
        monkeypatch.setattr(
            diagnosis, "values", lambda *_: [({"process": "processor-0"}, NOW.timestamp() - 77)]
        )
        monkeypatch.setattr(causes, "unanswered", lambda _: silent or {})
        monkeypatch.setattr(causes, "problems", lambda *_: list(parts))
        return diagnose(settings)

    return diagnosed


def alert(
    name: str, severity: str = "page", *, silenced: bool = False, since: str = "2026-11-30T11:58:00Z"
) -> Firing:
    return Firing(name, severity, since, f"what {name} says", f"http://oncall/runbooks/{name}", silenced)


def test_nothing_is_wrong(look: Any) -> None:
    assert look() == Diagnosis(True, [])
    assert look().healthy
    assert text(look(), NOW).startswith("nothing is wrong")


@pytest.mark.parametrize(
    ("process", "runbook"),
    [
        ("kafka", "KafkaDown"),
        ("redis", "RedisDown"),
        ("processor-0", "ProcessorDown"),
        ("scoring", "StreamScoringDown"),
        ("labels-0", "ProcessDown"),
        ("archive-0", "ProcessDown"),
        ("drift-0", "ProcessDown"),
        ("trainer-0", "ProcessDown"),
        ("rollout-0", "ProcessDown"),
        ("mlflow", "ProcessDown"),
    ],
)
def test_a_dead_process_is_named_with_its_time_its_command_and_its_page(
    look: Any, settings: Settings, process: str, runbook: str
) -> None:
    found = look(gone={process: "stopped"})
    (finding,) = found.findings
    assert finding.what.startswith(f"{process} is stopped: `tollgate restart {process}`")
    assert (NOW - finding.since).total_seconds() == 42
    assert finding.runbook == f"{settings.oncall}/runbooks/{runbook}"
    assert not found.healthy
    line = text(found, NOW)
    assert line.startswith(f"WRONG   {process} is stopped") and "since 2026-11-30 11:59:18Z (42 s)" in line
    assert "\n" not in line


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_dead_replica_is_named_but_not_beside_the_process_that_took_it_along(
    look: Any, replica: str
) -> None:
    (finding,) = look(gone={replica: "exited"}).findings
    assert finding.what.startswith(f"{replica} has ended")
    both = look(gone={replica: "exited", "scoring": "restarting"})
    assert [each.what.split()[0] for each in both.findings] == ["scoring"]


def test_a_frozen_process_is_named_since_it_answered_last(look: Any) -> None:
    with_age = {"processor-0": NoAnswer("timed out")}
    (finding,) = look(silent=with_age).findings
    assert finding.what == "processor-0 runs but does not answer (timed out): `tollgate restart processor-0`"
    assert (NOW - finding.since).total_seconds() == 77


def test_a_process_that_was_never_started_is_no_finding(look: Any) -> None:
    assert look(gone={"trainer-0": "stopped"}, never=("trainer-0",)).findings == []


def test_a_stack_that_is_down_altogether_has_no_finding(look: Any, settings: Settings) -> None:
    assert look(gone=dict.fromkeys((*PROCESSES, *REPLICAS), "stopped")).findings == []


def test_causes_come_before_consequences(look: Any) -> None:
    found = look(
        gone={"kafka": "stopped", "labels-0": "restarting"},
        silent={"processor-0": NoAnswer("timed out"), "mlflow": NoAnswer("timed out")},
        parts=(Problem("the disk of / has 3 MB free", False, "DiskFilling"),),
        alerts=(alert("DecisionsStopped"), alert("KafkaDown")),
    )
    first = [each.what.split()[0] for each in found.findings]
    assert first == ["the", "kafka", "processor-0", "labels-0", "mlflow", "DecisionsStopped:"]


def test_an_alert_that_is_a_cause_comes_before_what_follows_from_it(look: Any) -> None:
    # the processor was ended a moment ago and starts: nobody is silent, but its partitions stand
    standing = Problem(
        "processor stands on transactions[0] at offset 5: 7 records wait", True, "DecisionsStopped"
    )
    found = look(parts=(standing,), alerts=(alert("DecisionLatencyHigh"), alert("ProcessorDown")))
    assert [each.what.split()[0] for each in found.findings] == [
        "ProcessorDown:",
        "processor",
        "DecisionLatencyHigh:",
    ]


def test_a_refused_bundle_comes_before_decisions_without_a_model(look: Any) -> None:
    found = look(alerts=(alert("DecisionsNotScored"), alert("BundleRefused")))
    assert [each.what.split()[0] for each in found.findings] == ["BundleRefused:", "DecisionsNotScored:"]


def test_an_alert_explained_by_a_problem_gives_it_its_time(look: Any) -> None:
    problem = Problem("Redis cannot write its file", True, "RedisDown", "redis")
    (finding,) = look(parts=(problem,), alerts=(alert("RedisDown"),)).findings
    assert finding.what == "Redis cannot write its file"
    assert (NOW - finding.since).total_seconds() == 120


@pytest.mark.parametrize("silent", ["kafka", "redis"])
def test_a_server_that_does_not_answer_is_not_running(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, silent: str
) -> None:
    problem = Problem(f"{silent} does not answer", True, runbook_of(silent), silent, silent=True)
    monkeypatch.setattr(causes, "problems", lambda *_: [problem])
    monkeypatch.setattr(causes, "unanswered", lambda _: {})
    listed = [{"name": name, "pid": 1, "state": "running"} for name in PROCESSES]
    supervised = {name: {"start": 1, "stop": 0} for name in PROCESSES}
    assert problem in causes.causes(settings, listed, supervised)
    states = {process["name"]: process["state"] for process in listed}
    assert states.pop(silent) == "not answering" and set(states.values()) == {"running"}


def test_a_silent_process_that_ends_while_it_is_asked_is_named_all_the_same(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait(STALL_S)
    monkeypatch.setattr(causes, "problems", lambda *_: [])
    monkeypatch.setattr(causes, "unanswered", lambda _: {"processor-0": NoAnswer("timed out")})
    listed = [{"name": name, "pid": ended.pid, "state": "running"} for name in PROCESSES]
    supervised = {name: {"start": 1, "stop": 0} for name in PROCESSES}
    (problem,) = causes.causes(settings, listed, supervised)
    assert problem.text.startswith("processor-0 did not answer (timed out) and has just ended")
    assert (problem.stops, problem.runbook) == (True, "ProcessorDown")
    assert {row["state"] for row in listed if row["name"] == "processor-0"} == {"restarting"}


def test_alerts_that_no_problem_explains_stand_alone_and_a_ticket_is_not_unhealthy(look: Any) -> None:
    found = look(
        alerts=(
            alert("ModelAwaitsApproval", "ticket"),
            alert("RetrainingRequested", "info"),
            alert("DecisionLatencyHigh", silenced=True),
        )
    )
    assert [each.what for each in found.findings] == ["ModelAwaitsApproval: what ModelAwaitsApproval says"]
    assert found.healthy
    assert text(found, NOW).startswith("ticket  ModelAwaitsApproval")
    found = look(alerts=(alert("ModelAwaitsApproval", "ticket"), alert("DecisionLatencyHigh")))
    assert [each.what.split(":")[0] for each in found.findings] == [
        "DecisionLatencyHigh",
        "ModelAwaitsApproval",
    ]
    assert not found.healthy


def test_without_alertmanager_nobody_is_paged_and_that_is_said(look: Any) -> None:
    (finding,) = look(alerts=None).findings
    assert "no page reaches anybody" in finding.what


def test_the_earliest_of_several_alerts_of_a_name_counts() -> None:
    alerts = [alert("ProcessDown"), alert("ProcessDown", since="2026-11-30T11:00:00Z")]
    (finding,) = findings([Problem("labels-0 is stopped", False)], alerts, {}, "http://o")
    assert finding.since == datetime(2026, 11, 30, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("process", "runbook"),
    [("processor-11", "ProcessorDown"), ("scoring-http-0", "HttpEdgeDown"), ("scoring-stream-1", "StreamScoringDown"), ("oncall", "ProcessDown")],
)  # fmt: skip
def test_the_page_of_a_process(process: str, runbook: str) -> None:
    assert runbook_of(process) == runbook


def test_without_a_stack_the_command_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings_for(tmp_path, 21_000).save()
    assert run(["doctor", "--live", "--home", str(tmp_path)]) == 3
    assert "no stack is running" in capfd.readouterr().err


class Prometheus(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        good = "query=up" in self.path
        self.send_response(200 if good else 400)
        self.end_headers()
        result = [{"metric": {"process": "oncall"}, "value": [1.5, "1"]}]
        self.wfile.write(
            json.dumps({"data": {"result": result}} if good else {"error": "parse error"}).encode()
        )

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[str]:
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join(5)
    serving.server_close()


def test_a_query_gives_labels_and_values(prometheus: str) -> None:
    assert values(prometheus, "up") == [({"process": "oncall"}, 1.0)]
    with pytest.raises(PrometheusUnavailable, match=r"400.*parse error"):
        values(prometheus, "nonsense(")
    with pytest.raises(PrometheusUnavailable, match="does not answer"):
        values("http://127.0.0.1:1", "up")
