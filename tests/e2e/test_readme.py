"""The README's examples work as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from streams.runtime.settings import Settings
from tests.support.running import read_topic
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(200)]
README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# example: (\w+)\n(.*?)```", README, re.DOTALL))


def run_example(name: str, settings: Settings) -> str:
    code = EXAMPLES[name].replace(".tollgate/feast", str(settings.feast_dir))
    # as after `source .venv/bin/activate`, in a folder whose stack is the running one
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TOLLGATE_HOME": settings.home}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_produce_read_and_label(running_stack: Settings) -> None:
    partitions = dict.fromkeys(range(running_stack.partitions), 0)
    run_example("produce", running_stack)
    printed = run_example("decisions", running_stack)
    assert re.search(r"^tx-readme-a (approve|review|decline) ", printed, re.MULTILINE), printed[-500:]
    run_example("label", running_stack)

    def outcome() -> bool:
        return any(b'"tx-readme-a"' in r.value() for r in read_topic(running_stack, "outcomes", partitions))

    assert until(outcome, 30, "the outcome of the labelled example")


def test_the_curl_example(running_stack: Settings) -> None:
    found = re.search(r"-d '(\{.*?\})'", README, re.DOTALL)
    assert found
    answer = httpx.post(
        f"{running_stack.http}/v1/score",
        content=found.group(1),
        headers={"content-type": "application/json"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["transaction_id"] == "tx-readme-b"
    assert answer.json()["decision"] in ("approve", "review", "decline")


def test_the_client_example(running_stack: Settings) -> None:
    assert run_example("client", running_stack).strip() in ("approve", "review", "decline")


def test_the_feast_example(running_stack: Settings) -> None:
    """The payment of the first example, and perhaps those of others, are what it finds."""
    run_example("produce", running_stack)

    def found() -> bool:
        now, vector = run_example("feast", running_stack).splitlines()
        assert re.fullmatch(r"\[\d+\.0\] \[\d+\.0\]", now), now
        return re.fullmatch(r"\[[23]\.0\] \[0\.0\]", vector) is not None

    until(found, 30, "the payment of the first example to be known")


def test_commands_named_in_the_readme_exist() -> None:
    commands = set(re.findall(r"^tollgate ([a-z-]+)", README, re.MULTILINE))
    assert len(commands) >= 9
    for command in sorted(commands):
        done = subprocess.run(
            [str(Path(sys.executable).parent / "tollgate"), command, "--help"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
