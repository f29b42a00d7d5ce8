"""Drift leads automatically to a drift row, a request with evidence, a trained bundle and an alert; then a person approves it and rolls back.

After tests that expect the first model: here another one is trained and served for a while.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from streams.runtime.settings import Settings
from tests.support.running import ends_of, read_topic, run_json, served_version, start_cli
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.comes_late(place=1)]


def states(settings: Settings) -> dict[str, str]:
    return {row["version"]: row["state"] for row in run_json(settings, "models", "list")}


def pages(settings: Settings) -> set[str]:
    answer = httpx.get(f"{settings.oncall}/pages", timeout=90).json()
    text = json.dumps(answer)
    return {name for name in ("DriftSevere", "RetrainingRequested", "ModelAwaitsApproval") if name in text}


def test_drift_leads_to_a_model_that_a_person_approves_and_rolls_back(running_stack: Settings) -> None:
    first = served_version(running_stack)
    # eleven days of the cards that the model knows, which mature while the days after them pass: else there is nothing new to learn
    begin = datetime.now(UTC) - timedelta(days=24)
    known = ("--cards", "600", "--seed", "3", "--scale", "auto", "--wait", "60")
    run_json(
        running_stack, "simulate", "--rate", "300", "--seconds", "40", "--from", begin.isoformat(), *known
    )
    drift_from = ends_of(running_stack, "drift", 1)
    traffic = start_cli(
        running_stack, "simulate", "--rate", "150", "--seconds", "90", *known, "--drift", "amounts@5x3", "--json",
    )  # fmt: skip

    def rows(topic: str, start: dict[int, int]) -> list[dict[str, Any]]:
        return [json.loads(record.value()) for record in read_topic(running_stack, topic, start)]

    def drifted() -> list[dict[str, Any]]:
        told = [row for row in rows("drift", drift_from) if row["severity"] != "none"]
        return [row for row in told if "amount" in row["feature"]]

    until(drifted, 150, "rows on `drift` that tell of amounts")
    # one request per cool-down: other traffic, as at night, may have drifted and caused the request earlier
    requests = until(lambda: rows("retraining", {0: 0}), 150, "an event on `retraining`")
    assert requests[0]["evidence"], "a request for retraining carries its evidence"

    def waiting() -> list[str]:
        return [version for version, state in states(running_stack).items() if "await" in state]

    candidate = until(waiting, 180, "a bundle that awaits approval")[0]
    assert candidate != first
    assert served_version(running_stack) == first, "nothing is served before a person approves"
    until(
        lambda: {"DriftSevere", "ModelAwaitsApproval"} <= pages(running_stack),
        90,
        "pages at the on-call receiver",
    )

    decisions_from = ends_of(running_stack, "decisions", running_stack.partitions)

    def decided() -> list[dict[str, Any]]:
        return rows("decisions", decisions_from)

    beside = start_cli(
        running_stack,
        "simulate",
        "--rate",
        "200",
        "--seconds",
        "20",
        "--seed",
        "32",
        "--wait",
        "60",
        "--json",
    )
    run_json(running_stack, "models", "approve", candidate, "--by", "e2e", "--why", "evidence looked at")
    until(lambda: served_version(running_stack) == candidate, 30, "the approved version to be served")
    until(
        lambda: any(row["model_version"] == candidate for row in decided()),
        30,
        "a decision by the approved version in the stream",
    )
    run_json(running_stack, "models", "rollback", "--by", "e2e", "--why", "test of the way back")
    until(lambda: served_version(running_stack) == first, 30, "the version before to be served again")
    for run in (traffic, beside):
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, err[-2000:] + out[-2000:]
        summary = json.loads(out)
        assert summary["missing"] == summary["duplicated"] == 0
        assert summary["decided"]["not_scored"] == 0
    policies: dict[str, set[str]] = {}
    for row in decided():
        policies.setdefault(row["model_version"], set()).add(row["policy_version"])
    assert set(policies) == {first, candidate}
    assert all(len(versions) == 1 for versions in policies.values()), (
        f"a decision is made wholly by one version: {policies}"
    )
