"""A new version goes from the shadow to every card by its plan; a harmful one is undone by itself and pages. On one stack, over real Kafka.

After tests that expect the first model: versions are published, served for a while, and taken back. `make rollout-drill` runs it; what a plan does
step by step is in ``tests/integration/test_rollout_plan_on_kafka.py``.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.rollout.arms import CHALLENGER, arm_of
from streams.access.identity import add_person
from streams.runtime.settings import Settings
from tests.support.running import ends_of, read_topic, run_cli, run_json, served_version, traffic
from tests.support.waiting import until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(1200),
    pytest.mark.comes_late(place=3),
    pytest.mark.skipif(
        not os.environ.get("ROLLOUT_DRILL"), reason="minutes of traffic: `make rollout-drill` runs it"
    ),
]

GUARDS = """
[[guards]]
metric = "decline_rate"
max = 2.0
min = 0.5
[[guards]]
metric = "error_rate"
max = 0.05
"""
SAFE = f"""
[[steps]]
kind = "shadow"
min_decisions = 2000
min_s = 5
[[steps]]
kind = "canary"
share = 0.3
min_decisions = 1500
min_s = 10
[[steps]]
kind = "canary"
share = 1.0
min_decisions = 1000
min_s = 5
{GUARDS}"""
#: no shadow, so that the harm is found among the challenger's own cards
HASTY = f"""
[[steps]]
kind = "canary"
share = 0.3
min_decisions = 200000
min_s = 60
{GUARDS}"""
#: a step is proven by declined cards: with a usual share of fraud, 13 of them took 370 s
LIVE = ("--rate", "150", "--cards", "5000", "--fraud-rate", "0.2")
RULE = """
[[rules]]
name = "{name}"
when = "{when}"
action = "{action}"
owner = "e2e"
"""


def publish(stack: Settings, folder: Path, name: str, when: str, action: str) -> str:
    """The live version with one rule more, awaiting approval."""
    file = folder / f"{name}.toml"
    assert run_cli(stack, "rules", "export", "--out", str(file)).returncode == 0
    file.write_text(file.read_text() + RULE.format(name=name, when=when, action=action))
    version: str = run_json(stack, "rules", "publish", str(file), "--why", "e2e")["version"]
    return version


def roll_out(stack: Settings, folder: Path, version: str, plan: str) -> dict[str, Any]:
    file = folder / f"{version}.plan.toml"
    file.write_text(plan)
    found: dict[str, Any] = run_json(
        stack, "models", "rollout", version, "--plan", str(file), "--as", "rolla", "--why", "e2e"
    )
    return found


def status(stack: Settings) -> dict[str, Any]:
    found: dict[str, Any] = run_json(stack, "rollout", "status")
    return found


def test_from_the_shadow_to_every_card_and_back_by_itself(running_stack: Settings, tmp_path: Path) -> None:
    first = served_version(running_stack)
    # not by command: once another test has added an admin, only an admin may
    add_person(running_stack.access_dir, "rolla", "approver", by="test", now=datetime.now(UTC))
    begin = ends_of(running_stack, "decisions", running_stack.partitions)
    with traffic(running_stack, *LIVE) as summaries:
        safe, harmful, salt = up_and_back(running_stack, tmp_path, first)
    for summary in summaries:
        assert summary["missing"] == summary["duplicated"] == summary["decided"]["not_scored"] == 0

    decided = [json.loads(record.value()) for record in read_topic(running_stack, "decisions", begin)]
    assert any(row["shadow"].get(safe) is not None for row in decided), (
        "the shadow's score travels with decisions"
    )
    # by the hash of the card, never of the payment
    by_harmful = {row["card_id"] for row in decided if row["model_version"] == harmful}
    assert by_harmful and {arm_of(salt, card, 0.3) for card in by_harmful} == {CHALLENGER}
    assert {row["arm"] for row in decided if row["model_version"] == harmful} == {CHALLENGER}


def up_and_back(running_stack: Settings, tmp_path: Path, first: str) -> tuple[str, str, str]:
    """A version to every card, a harmful one undone, and the first again; returns both versions, and the harmful one's run."""
    safe = publish(running_stack, tmp_path, "seen-only", "amount_minor >= 1", "observe")
    assert roll_out(running_stack, tmp_path, safe, SAFE)["state"] == "shadow"
    found = until(
        lambda: found if (found := status(running_stack))["state"] not in ("shadow", "canary") else None, 400,
        "the end of the rollout",
    )  # fmt: skip
    assert (found["state"], found["arms"]) == ("done", {"champion": safe, "challenger": None}), found
    until(lambda: served_version(running_stack) == safe, 30, "the new version to be served")
    steps = [
        (one["state"], one["traffic"]["challenger"]) for one in found["history"] if one["challenger"] == safe
    ]
    assert steps == [("shadow", 0.0), ("shadow", 0.0), ("canary", 0.3), ("canary", 1.0)]

    harmful = publish(running_stack, tmp_path, "declines-a-lot", "amount_minor >= 1500", "decline")
    salt = roll_out(running_stack, tmp_path, harmful, HASTY)["run"]["id"]
    undone = until(
        lambda: found if (found := status(running_stack))["state"] == "rolled_back" else None,
        300,
        "the way back",
    )
    assert undone["by"] == "rollout" and undone["why"].startswith("decline_rate"), undone
    until(
        lambda: "RolloutRolledBack" in json.dumps(httpx.get(f"{running_stack.oncall}/pages", timeout=90).json()),
        90, "the page",
    )  # fmt: skip
    assert served_version(running_stack) == safe
    during = undone["history"][-2]["at"]
    told = run_json(running_stack, "models", "at", during)
    assert {arm: one["version"] for arm, one in told["arms"].items()} == {
        "champion": safe,
        "challenger": harmful,
    }
    run_json(running_stack, "models", "rollback", first, "--as", "rolla", "--why", "e2e is over")
    until(lambda: served_version(running_stack) == first, 30, "the first version again")
    return safe, harmful, salt
