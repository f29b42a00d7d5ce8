"""The rollout process as the stack starts it, asked from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.embedded.mock_cluster import MockCluster
from models.bundle.registry import VersionState, write_state
from services.cli.main import run
from streams.log.rollouts.feed import newest_rollout
from streams.log.topics import ALL
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def stack(tmp_path: Path, free_port_base: Callable[[], int]) -> Iterator[Settings]:
    cluster = MockCluster({topic.name: 1 for topic in ALL})
    settings = Settings(home=str(tmp_path), kafka=cluster.bootstrap, port_base=free_port_base())
    settings.save()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.rollout.main", "--home", str(tmp_path)], cwd=ROOT, stderr=log
        )
    try:
        yield settings
        assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
    finally:
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(30)
        cluster.close()
    assert code == 0


def test_first_model_approve_and_roll_back(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for version, state in (("1.0.0", "approved"), ("1.1.0", "awaiting approval")):
        publish_sample(stack.root, version)
        told = VersionState(state=state, since=NOW, by="ada")  # type: ignore[arg-type]
        write_state(stack.bundles_dir, "fraud", version, told)
    deadline = time.monotonic() + 60
    while newest_rollout(stack, "fraud") is None:
        assert time.monotonic() < deadline, (stack.root / "log").read_text()[-3000:]
    assert run(["models", "approve", "--home", stack.home, "--by", "ada", "--why", "better", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["champion"], record["previous"], record["approved_by"]) == ("1.1.0", "1.0.0", "ada")
    start = time.monotonic()
    assert run(["models", "rollback", "--home", stack.home]) == 0
    assert time.monotonic() - start < 10
    assert "fraud 1.0.0 is live" in capsys.readouterr().out
    newest = newest_rollout(stack, "fraud")
    assert newest is not None and (newest.champion, newest.state) == ("1.0.0", "rolled_back")
    assert run(["models", "approve", "1.1.0", "--home", stack.home]) == 1
    assert "only a version that awaits approval" in capsys.readouterr().err
    assert run(["models", "promote", "1.1.0", "--home", stack.home]) == 0
    roll_out(stack, capsys)


def roll_out(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Step by step beside the live version, by command; on the same process, because starting one takes seconds."""
    home = ["--home", stack.home]

    def told(*args: str) -> str:
        assert run([*args, *home]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    publish_sample(stack.root, "1.2.0")
    write_state(
        stack.bundles_dir, "fraud", "1.2.0", VersionState(state="awaiting approval", since=NOW, by="ada")
    )
    plan = stack.root / "plan.toml"
    plan.write_text('[[steps]]\nkind = "shadow"\nmin_decisions = 10\n[[steps]]\nkind = "canary"\nshare = 5')
    asked = ["models", "rollout", "1.2.0", "--plan", str(plan), "--why", "better", *home]
    assert run(asked) == 2
    assert "0.05 is 5 %" in capsys.readouterr().err
    plan.write_text(plan.read_text().replace("share = 5", "share = 0.05"))
    before = datetime.now(UTC)
    assert run(asked) == 0
    assert "  2. canary 0.05 of the cards" in capsys.readouterr().out
    # no replica runs, so none lacks the bundle
    deadline = time.monotonic() + 60
    while not json.loads(told("rollout", "status", "--json"))["shadow"]:
        assert time.monotonic() < deadline, told("rollout", "status")
    assert run(["models", "approve", "1.2.0", *home]) == 1
    assert "under way" in capsys.readouterr().err
    assert "fraud is paused" in told("rollout", "pause", "--why", "lunch")
    assert run(["rollout", "pause", "--why", "again", *home]) == 1
    assert "paused already" in capsys.readouterr().err
    assert "fraud is shadow" in told("rollout", "resume", "--why", "back")
    assert "fraud is canary: champion 1.1.0 95%, challenger 1.2.0 5%" in told(
        "rollout", "step", "--why", "enough seen"
    )
    text = told("rollout", "status")
    assert "step 2 of 2 (canary)" in text and "challenger 1.2.0        5.0% of the cards" in text
    assert json.loads(told("rollout", "abort", "--why", "no", "--json"))["state"] == "rolled_back"
    at = json.loads(told("models", "at", before.isoformat(), "--json"))
    assert {arm: (one["version"], one["share"]) for arm, one in at["arms"].items()} == {
        "champion": ("1.1.0", 1.0)
    }
    assert "challenger" not in told("models", "at", datetime.now(UTC).isoformat())
    assert "no model was live" in told("models", "at", "2020-01-01T00:00:00Z")
    assert (
        run(["models", "at", "yesterday", *home]) == run(["models", "at", "2026-01-01T00:00:00", *home]) == 2
    )
    assert "add Z" in capsys.readouterr().err
