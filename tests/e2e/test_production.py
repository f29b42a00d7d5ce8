"""`infra/PRODUCTION.md`, followed with a Kafka and a Redis that another stack runs: the stack uses them and leaves them alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from infra import stack
from infra.stack.tools import CHECKOUT
from streams.runtime.kafka.clients import new_admin
from streams.runtime.settings import Settings
from tests.support.running import CLI
from tests.support.waiting import STALL_S

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
PAGE = (CHECKOUT / "infra" / "PRODUCTION.md").read_text()
HOME = "/srv/tollgate"


@pytest.fixture
def company(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """Kafka and Redis as a company has them."""
    settings = stack.settings_for(Path(tempfile.mkdtemp(prefix="tg-")), free_port_base())
    try:
        yield stack.start(settings, only=("kafka", "redis"), wait_s=90)
    finally:
        stack.stop(settings, purge=True)


def settings_toml(company: Settings) -> str:
    """The page's example, with the company's addresses; this company has no TLS, one broker and no MLflow."""
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    example = text[1][: text[1].index("[mlflow]")]
    for line, instead in (
        (r"bootstrap = .*", f'bootstrap = "{company.kafka}"'),
        (r"security = .*", 'security = "plaintext"'),
        (r"replication_factor = .*", "replication_factor = 1"),
        (r"min_in_sync_replicas = .*", "min_in_sync_replicas = 1"),
        (r"url = .*", f'url = "{company.redis_shown}"'),
        (r"ca_file = .*\n", ""),
        (r"mechanism = .*\n", ""),
        (r"username = .*\n", ""),
        (r"password_file = .*\n", ""),
    ):
        example, count = re.subn(line, instead, example)
        assert count, line
    return example


def followed(command: str, home: Path, password: str, *more: str) -> subprocess.CompletedProcess[str]:
    """One command of the page, in another folder."""
    words = [str(home) if word == HOME else word for word in command.split()[1:]]
    return subprocess.run(
        [*CLI, *words, *more], env={**os.environ, "REDIS_PASSWORD": password}, capture_output=True, text=True,
        timeout=480, check=False,
    )  # fmt: skip


def pids(settings: Settings) -> dict[str, Any]:
    return {process["name"]: process["pid"] for process in stack.processes(settings)}


def test_the_page_works_on_a_kafka_and_a_redis_of_others(
    company: Settings, free_port_base: Callable[[], int]
) -> None:
    home = Path(tempfile.mkdtemp(prefix="tg-"))
    (home / "settings.toml").write_text(settings_toml(company))
    password, before = urlsplit(company.redis).password or "", pids(company)
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    up, status, simulate, reconcile, down = commands
    try:
        started = followed(up, home, password, "--port-base", str(free_port_base()), "--wait", "300")
        assert started.returncode == 0, started.stderr
        assert password not in started.stdout + started.stderr
        report = json.loads(followed(status, home, password, "--json").stdout)
        assert {"kafka", "redis"}.isdisjoint(process["name"] for process in report["processes"])
        assert (report["kafka"], report["redis"]) == (company.kafka, company.redis_shown)
        assert report["state"] in ("ready", "degraded") and report["problems"] == []
        summary = json.loads(followed(simulate, home, password, "--json").stdout)
        assert (summary["missing"], summary["duplicated"]) == (0, 0)
        assert summary["decided"]["scored"] + summary["decided"]["degraded"] == summary["produced"]
        assert json.loads(followed(reconcile, home, password, "--json").stdout)["balanced"]
        kept = (home / "settings.json").read_text()
        assert password not in kept
    finally:
        stopped = followed(down, home, password, "--purge")
    assert stopped.returncode == 0, stopped.stderr
    assert not home.exists()
    # what is the company's goes on, with what it was given
    assert pids(company) == before
    assert "decisions" in new_admin(company.kafka).list_topics(timeout=STALL_S).topics
    assert redis.Redis.from_url(company.redis).dbsize() > 0
