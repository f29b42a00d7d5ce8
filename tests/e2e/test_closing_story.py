"""What the console is for, as one story in a browser: two people, from a declined payment to a rule that acts, a rollout and a page.

After tests that expect the first model: a rule is approved, and taken back at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime

import httpx
import pytest

from streams.access.identity import add_person
from streams.access.logins import make_link
from streams.access.roles import Role
from streams.runtime.settings import Settings
from tests.support.node import WEB, cannot_browse, node
from tests.support.running import run_json, served_version, traffic
from tests.support.waiting import STALL_S, until

PASSWORD = "several words that nobody guesses"
#: the author may do all but approve what is their own
PEOPLE: dict[str, Role] = {"story-author": "admin", "story-approver": "approver"}
LIMIT_S = 600
#: frauds enough that payments are declined
TRAFFIC = ("--rate", "100", "--cards", "2000", "--fraud-rate", "0.05")
BLIND = cannot_browse()
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(LIMIT_S + 400),
    pytest.mark.comes_late(place=2),
    pytest.mark.skipif(BLIND is not None, reason=f"no browser: {BLIND}"),
]


def let_in(settings: Settings) -> None:
    """The two people, with passwords."""
    url, now = settings.console, datetime.now(UTC)
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=STALL_S) as client:
        until(lambda: answers(client), 60, "the console")
        for name, role in PEOPLE.items():
            add_person(settings.access_dir, name, role, by="test", now=now)
            token, _ = make_link(settings.access_dir, name, by="test", now=now)
            made = client.post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
            assert made.status_code == 200, made.text


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def tell(settings: Settings) -> None:
    """The whole story, with traffic beside it; the people's actions are on the audit afterwards."""
    author, approver = PEOPLE
    story = {"url": settings.console, "author": author, "approver": approver, "password": PASSWORD}
    with traffic(settings, *TRAFFIC):
        done = subprocess.run(
            [str(node()), "--test", "--test-reporter=spec", "tests/story.mjs"],
            cwd=WEB, env={**os.environ, "TELL": json.dumps(story)}, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-4_000:]
    actions = {(entry["action"], entry["by"]) for entry in run_json(settings, "audit", "list")}
    assert {("approve", approver), ("rollout", approver), ("abort", approver)} <= actions


def test_two_people_do_all_of_it_in_the_console(running_stack: Settings) -> None:
    let_in(running_stack)
    first = served_version(running_stack)
    try:
        tell(running_stack)
    finally:
        if served_version(running_stack) != first:
            why = ("--as", "story-approver", "--why", "the story is over")
            run_json(running_stack, "models", "rollback", first, *why)
    until(lambda: served_version(running_stack) == first, 30, "the first version again")
