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
