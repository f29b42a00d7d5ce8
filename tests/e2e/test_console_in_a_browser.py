"""The console of a running stack in a real browser: every screen with real data, and an analyst's work by keyboard."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime

import httpx
import pytest

from streams.access.identity import add_person
from streams.access.logins import make_link
from streams.runtime.settings import Settings
from tests.support.node import WEB, cannot_browse, node
from tests.support.running import run_json
from tests.support.waiting import until

PASSWORD = "several words that nobody guesses"
LIMIT_S = 240
#: reviews that are worth a round of traffic each, and at most so many rounds
ENOUGH, ROUNDS = 5, 5
pytestmark = [pytest.mark.stack, pytest.mark.timeout(LIMIT_S * 3)]


@pytest.fixture(scope="module")
def browsing(running_stack: Settings) -> dict[str, str]:
    """The environment of browser tests: the console's address, and an admin who may sign in there. Reviews wait in the queue."""
    missing = cannot_browse()
    if missing:
        pytest.skip(missing)
    url, now = running_stack.console, datetime.now(UTC)
    add_person(running_stack.access_dir, "olivia", "admin", by="test", now=now)
    token, _ = make_link(running_stack.access_dir, "olivia", by="test", now=now)
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=20) as client:
        answer = client.post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
        assert answer.status_code == 200, answer.text

        def waiting() -> int:
            return len(client.get("/api/v1/queue?locked=free").json()["rows"])

        # about one payment in a thousand is reviewed
        for seed in range(41, 41 + ROUNDS):
            if waiting() >= ENOUGH:
                break
            run_json(running_stack, "simulate", "--rate", "300", "--seconds", "10", "--seed", str(seed))
        until(lambda: waiting() >= 2, 60, "two reviews in the queue")
        version = next(
            row["version"] for row in client.get("/api/v1/models").json() if row["state"] == "live"
        )
    return {
        **os.environ, "CONSOLE_URL": url, "CONSOLE_NAME": "olivia", "CONSOLE_PASSWORD": PASSWORD, "CONSOLE_MODEL": version,
        "CONSOLE_LOOK": "light-1440",
    }  # fmt: skip


def run(file: str, environment: dict[str, str], *options: str) -> None:
    done = subprocess.run(
        [str(node()), "--test", "--test-reporter=spec", *options, f"tests/{file}"],
        cwd=WEB, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-4_000:]


def test_every_screen_shows_real_data(browsing: dict[str, str]) -> None:
    run("pages.test.mjs", browsing)


def test_an_analyst_works_by_keyboard(browsing: dict[str, str]) -> None:
    run("queue.test.mjs", browsing, "--test-name-pattern=by keyboard alone")
