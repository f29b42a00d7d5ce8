"""Kafka down for half a minute under load: processes wait and log it, callers get 503, then all continue without loss."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra import stack
from infra.stack.supervisor import Supervisor
from streams.log.topics import DECISIONS
from streams.runtime.settings import Settings
from tests.support.running import ends_of, pid_of, run_json, stand_still, start_cli
from tests.support.waiting import until

pytestmark = pytest.mark.stack
RATE, SECONDS, AWAY_S = 300, 36, 30.0
#: log size of one process in half a minute; twenty lines a second would be several times this
MAX_LOG_BYTES = 100_000


def freeze(settings: Settings, pid: int) -> Callable[[], None]:
    """The broker accepts connections but does not answer; returns a function that ends this."""
    stand_still(pid)
    return lambda: os.kill(pid, signal.SIGCONT)


def kill_and_keep_away(settings: Settings, pid: int) -> Callable[[], None]:
    """The broker is killed, and the supervisor restarts it only on request."""
    supervisor = Supervisor(settings)
    supervisor.stop("kafka")
    os.kill(pid, signal.SIGKILL)
    return lambda: supervisor.start("kafka")


def ask(settings: Settings, name: str) -> httpx.Response:
    body = {
        "transaction_id": name, "event_time": datetime.now(UTC).isoformat(), "card_id": "card-away", "merchant_id": "m-1",
        "amount_minor": 4200, "currency": "EUR",
    }  # fmt: skip
    # no answer would be a timeout, which raises
    return httpx.post(f"{settings.http}/v1/score", json=body, timeout=20)


def logs(settings: Settings) -> dict[str, Path]:
    return {path.stem: path for path in settings.log_dir.glob("*.log")}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("away", [freeze, kill_and_keep_away])
def test_kafka_away_for_30_s(
    running_stack: Settings, away: Callable[[Settings, int], Callable[[], None]]
) -> None:
    if running_stack.embedded:
        pytest.skip(
            "the mock cluster keeps nothing: needs Java 17 and Kafka's jars (`make setup` brings them)"
        )
    pid = until(lambda: pid_of(running_stack, "kafka"), 60, "the broker to have a pid")
    decided = sum(ends_of(running_stack, DECISIONS.name, running_stack.partitions).values())
    traffic = start_cli(
        running_stack, "simulate", "--rate", str(RATE), "--seconds", str(SECONDS), "--seed", "21", "--wait", "150", "--json",
    )  # fmt: skip
    until(
        lambda: (
            sum(ends_of(running_stack, DECISIONS.name, running_stack.partitions).values()) > decided + RATE
        ),
        60,
        "decisions to come",
    )
    before = {name: path.stat().st_size for name, path in logs(running_stack).items()}
    back = away(running_stack, pid)
    try:
        report, answers = _while_away(running_stack, away.__name__)
    finally:
        back()
    out, err = traffic.communicate(timeout=280)
    assert traffic.returncode == 0, err[-2000:] + out[-2000:]
    summary = json.loads(out)
    assert (summary["produced"], summary["missing"], summary["duplicated"]) == (RATE * SECONDS, 0, 0)
    books = run_json(running_stack, "reconcile", "--wait", "90")
    assert books["balanced"]
    assert books["in_flight"] == 0
    until(lambda: stack.report(running_stack)["state"] == "ready", 90, "the stack to be ready again")

    assert report["state"] == "starting"
    # every caller gets an answer, and no decision that was not recorded
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    new = {name: path.read_text()[before.get(name, 0) :] for name, path in logs(running_stack).items()}
    assert {name: len(text) for name, text in new.items() if len(text) > MAX_LOG_BYTES} == {}
    # each waiting process logs what it waits for
    for name in ("processor-0", "labels-0", "scoring"):
        assert "Kafka" in new[name] or running_stack.kafka in new[name], f"{name}: {new[name][-1000:]}"
    # the replicas' log lines reach the log
    assert '"process": "scoring-http-0"' in new["scoring"]
    assert "Traceback" not in new["processor-0"] + new["labels-0"] + new["rollout-0"]


def _while_away(settings: Settings, form: str) -> tuple[dict[str, Any], list[httpx.Response]]:
    end, answers = time.monotonic() + AWAY_S, []
    report = stack.report(settings)
    if form == "freeze":
        (problem,) = report["problems"]
        assert f"Kafka at {settings.kafka} does not answer" in problem
    while time.monotonic() < end:
        answers.append(ask(settings, f"away-{form[:4]}-{len(answers)}"))
        time.sleep(1.0)
    return report, answers
