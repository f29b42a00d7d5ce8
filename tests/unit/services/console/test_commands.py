"""Commands that the console runs in a process of their own, and how what they say becomes an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.console.outside.commands import Commands
from services.console.problems import Problem
from streams.access.identity import KEY_VARIABLE
from tests.support.console_world import World

POLICY = 'review = 0.5\n[[rules]]\nname = "x"\nwhen = "amount_minor >"\naction = "review"\n'


def test_what_a_command_prints_is_the_answer_and_its_errors_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "of-who-started-the-stack.key"))
    commands = Commands(str(tmp_path))
    # a check that failed and says so in JSON
    bad = tmp_path / "policy.toml"
    bad.write_text(POLICY)
    with pytest.raises(Problem) as refused:
        commands.run("rules", "check", given=[str(tmp_path / "--home=missing.toml")])
    assert (refused.value.status, refused.value.reason) == (422, "invalid")
    with pytest.raises(Problem) as unreached:
        commands.run("reconcile")
    assert (unreached.value.status, unreached.value.reason) == (503, "unreachable")
    assert "no stack in" in str(unreached.value)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Problem) as late:
        Commands(str(tmp_path)).run("rules", "list", within_s=0.01)
    assert (late.value.status, late.value.reason) == (503, "unreachable")


def test_what_is_asked_runs_in_the_name_of_who_asks(world: World) -> None:
    client = world.client("operator")
    client.post("/api/v1/models/retrain", json={"why": "--as=admin", "days": 30})
    client.get("/api/v1/models/compare?candidate=1.1.0&live=1.0.0")
    client.get("/api/v1/models/thresholds?version=1.1.0&version=1.0.0")
    client.get("/api/v1/performance?since=30d")
    client.post(
        "/api/v1/dead-letters/replay", json={"ids": ["transactions/0/17"], "set": {"currency": "EUR"}}
    )
    assert world.outside.commands.ran == [
        ("retrain", "--as=operator", "--why=--as=admin", "--days=30"),
        ("models", "compare", "1.1.0", "1.0.0"),
        ("models", "thresholds", "1.1.0", "1.0.0"),
        ("performance", "--since=30d"),
        ("dead-letters", "replay", "--id=transactions/0/17", "--set=currency=EUR"),
    ]
    assert client.get("/api/v1/models/compare?candidate=--home").status_code == 422
    assert client.get("/api/v1/models/thresholds?version=--home").status_code == 422
    assert client.get(f"/api/v1/models/thresholds?{'&'.join(5 * ['version=1.0.0'])}").status_code == 422
    assert client.post("/api/v1/dead-letters/replay", json={"ids": ["--all-reason=x"]}).status_code == 422
    client.post("/api/v1/models/1.0.0/approve", json={"why": "good"})
    assert [each[:4] for each in world.outside.asked] == [("change_model", "approve", "1.0.0", "operator")]
    client.post("/api/v1/models/1.1.0/rollout", json={"why": "better"})
    client.post("/api/v1/rollout/abort", json={"why": "worse"})
    assert [each[:4] for each in world.outside.asked[1:]] == [
        ("change_rollout", "rollout", "1.1.0", "operator"), ("change_rollout", "abort", None, "operator"),
    ]  # fmt: skip
    assert client.post("/api/v1/models/1.0.0/approve", json={"why": ""}).status_code == 422
