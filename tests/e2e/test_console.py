"""The console on a running stack: sign in by a link, watch traffic, open a decision, work on a review until its label has come back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from streams.access.identity import user_name
from streams.access.logins import make_link
from streams.runtime.settings import Settings
from tests.support.running import run_json
from tests.support.waiting import STALL_S, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser(running_stack: Settings) -> Iterator[httpx.Client]:
    """Signed in as the operator, by a one-time link."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=running_stack.console, headers=headers, timeout=STALL_S) as client:

        def alive() -> bool:
            try:
                return not client.get("/healthz").json()["problem"]
            except httpx.HTTPError:
                return False

        until(alive, 60, "the console to follow Kafka")
        now = datetime.now(UTC)
        token, _ = make_link(running_stack.access_dir, user_name(), by=user_name(), now=now)
        entered = client.post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
        assert entered.status_code == 200, entered.text
        yield client


@pytest.fixture(scope="module")
def stopped(running_stack: Settings, browser: httpx.Client) -> dict[str, Any]:
    """A decision that was not approved, with its payment; after traffic that the console has counted whole."""
    before = counted(browser)
    sent = run_json(running_stack, "simulate", "--rate", "300", "--seconds", "12", "--seed", "36")["produced"]
    # what earlier tests sent may still be on its way
    until(lambda: counted(browser) >= before + sent, 60, f"{sent} decisions to be counted")

    def look() -> dict[str, Any] | None:
        rows = browser.get("/api/v1/decisions?label=none&limit=500").json()["rows"]
        known = [row for row in rows if row["amount_minor"] is not None]
        return next((row for row in known if row["decision"] == "review"), known[0] if known else None)

    found: dict[str, Any] = until(look, 60, "a decision that was not approved")
    return found


def counted(browser: httpx.Client) -> int:
    series = browser.get("/api/v1/series?seconds=3600&step=1").json()
    return sum(sum(series[name]) for name in ("approve", "review", "decline"))


def test_it_is_a_process_of_the_stack(running_stack: Settings, browser: httpx.Client) -> None:
    status = browser.get("/api/v1/status").json()
    assert status["console"] == running_stack.console
    assert "console" in [process["name"] for process in status["processes"] if process["state"] == "running"]
    # the address of Redis without its password
    assert running_stack.redis not in browser.get("/api/v1/status").text


def test_a_decision_is_shown_with_its_reasons_features_and_card(
    browser: httpx.Client, stopped: dict[str, Any]
) -> None:
    name = stopped["transaction_id"]
    shown = browser.get(f"/api/v1/decisions/{name}").json()
    assert shown["decision"]["decision"] == stopped["decision"]
    assert shown["transaction"]["amount_minor"] == stopped["amount_minor"]
    assert shown["features"]
    assert shown["row"]["reasons"] == shown["decision"]["reasons"] == stopped["reasons"]
    timeline = browser.get(f"/api/v1/decisions/{name}/timeline").json()
    assert [row["this"] for row in timeline["rows"]].count(True) == 1
    assert browser.get(f"/api/v1/decisions/{name}/trace").json()["spans"]


@pytest.mark.parametrize(
    "path",
    ["overview", "queue", "models", "rollout", "drift", "rules", "rules/text", "doctor", "pages", "runbooks", "dead-letters", "people", "keys", "audit"],
)  # fmt: skip
def test_every_screen_has_its_data(browser: httpx.Client, path: str) -> None:
    found = browser.get(f"/api/v1/{path}")
    assert found.status_code == 200, found.text
    assert found.json() is not None


def test_a_label_goes_out_and_comes_back_as_matured(browser: httpx.Client, stopped: dict[str, Any]) -> None:
    name = stopped["transaction_id"]
    assert browser.put(f"/api/v1/queue/{name}/lock", json={}).json()["mine"] is True
    made = browser.post(f"/api/v1/queue/{name}/label", json={"label": "fraud", "note": "known device"}).json()
    assert made["state"] == "waiting"

    def state() -> str:
        return str(browser.get(f"/api/v1/decisions/{name}").json()["label"]["state"])

    until(lambda: state() == "matured", 60, "the label to be joined")
    row = browser.get(f"/api/v1/decisions/{name}").json()
    assert (row["label"]["label"], row["label"]["by"], row["notes"][0]["text"]) == (
        "fraud",
        user_name(),
        "known device",
    )


def test_a_refusal_and_a_sign_in_are_on_the_audit(running_stack: Settings, browser: httpx.Client) -> None:
    added = browser.post("/api/v1/people", json={"name": "console-analyst", "role": "analyst"})
    assert added.status_code == 201
    token = added.json()["link"].partition("#")[2]
    with httpx.Client(
        base_url=running_stack.console, headers={"Sec-Fetch-Site": "same-origin"}, timeout=STALL_S
    ) as analyst:
        assert analyst.post("/api/v1/welcome", json={"token": token, "password": PASSWORD}).status_code == 200
        assert analyst.get("/api/v1/people").status_code == 403

    def noted() -> bool:
        entries = [e for e in browser.get("/api/v1/audit?last=200").json() if e["by"] == "console-analyst"]
        return {"console password set", "console sign in", "console refused"} <= {
            e["action"] for e in entries
        }

    until(noted, 60, "the entries on the audit")
    assert browser.post("/api/v1/audit/verify", json={}).json()["entries"] > 0
