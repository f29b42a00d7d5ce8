"""Cases: who works on what, everything with its reason, the payments of many entities, and what other tenants see of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.console.kept.trimming import DAY_S, KEEP_CASES_DAYS, trim
from services.console.work import cases as module
from tests.support.console_world import NOW_S, World, decided

CARD = {"kind": "card", "id": "card-1"}


def begin(client: Any, *entities: dict[str, str], **more: Any) -> Any:
    return client.post(
        "/api/v1/cases", json={"entities": list(entities) or [CARD], "why": "a pattern"} | more
    )


def test_a_case_has_the_payments_of_all_its_entities(world: World) -> None:
    world.take(decided("a"), decided("b", card_id="card-2"), decided("c", card_id="card-3", tenant="shop-b"))
    with world.database.write() as connection:
        connection.execute("UPDATE decision SET device_id = 'd-9' WHERE transaction_id IN ('b', 'c')")
    client = world.client("analyst")
    made = begin(client, CARD, {"kind": "device", "id": "d-9"}, title="ring of d-9")
    assert made.status_code == 201
    found = client.get(f"/api/v1/cases/{made.json()['case']}").json()
    assert sorted(row["transaction_id"] for row in found["rows"]) == ["a", "b"]
    assert (found["title"], found["state"], found["assignee"], found["counted"]) == (
        "ring of d-9",
        "open",
        "analyst",
        2,
    )
    assert [(each["action"], each["by"], each["text"]) for each in found["events"]] == [
        ("opened", "analyst", "a pattern")
    ]
    assert client.get("/api/v1/cases?kind=device&id=d-9").json()["rows"][0]["case"] == made.json()["case"]
    assert client.get("/api/v1/cases?kind=device&id=d-8").json()["rows"] == []


def test_two_open_cases_never_have_the_same_entity(world: World) -> None:
    client = world.client("analyst")
    first = begin(client).json()["case"]
    again = begin(client)
    assert (again.status_code, again.json()["reason"], again.json()["case"]) == (409, "already_open", first)
    assert begin(client, tenant="shop-b").status_code == 201
    other = begin(client, {"kind": "ip", "id": "203.0.113.7"}).json()["case"]
    added = client.post(f"/api/v1/cases/{other}/entities", json={"entity": CARD, "why": "same"})
    assert added.json()["reason"] == "already_open"
    assert (
        client.post(
            f"/api/v1/cases/{first}/close", json={"outcome": "genuine", "why": "on holiday"}
        ).status_code
        == 204
    )
    assert (
        client.post(f"/api/v1/cases/{other}/entities", json={"entity": CARD, "why": "same"}).status_code
        == 204
    )
    opened = client.post(f"/api/v1/cases/{first}/reopen", json={"why": "came again"})
    assert opened.json()["reason"] == "already_open"


def test_who_has_it_and_why_is_written_down(world: World) -> None:
    client = world.client("analyst")
    number = begin(client).json()["case"]
    path = f"/api/v1/cases/{number}"
    assert client.post(f"{path}/notes", json={"text": "called the customer"}).status_code == 204
    assert client.post(f"{path}/assign", json={"to": "approver", "why": "w"}).status_code == 422
    assert (
        client.post(f"{path}/escalate", json={"to": "reviewer", "why": "above my limit"}).status_code == 204
    )
    found = client.get(path).json()
    assert (found["state"], found["assignee"]) == ("escalated", "reviewer")
    assert client.get("/api/v1/cases?mine=true").json()["rows"] == []
    assert world.client("reviewer").get("/api/v1/cases?mine=true").json()["rows"][0]["case"] == number
    closed = world.client("reviewer").post(f"{path}/close", json={"outcome": "fraud", "why": "confirmed"})
    assert closed.status_code == 204
    refused = client.post(f"{path}/notes", json={"text": "late"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "closed")
    assert client.get("/api/v1/cases").json()["rows"] == []
    assert client.get("/api/v1/cases?closed=true").json()["rows"][0]["outcome"] == "fraud"
    assert client.post(f"{path}/reopen", json={"why": "an appeal"}).status_code == 204
    events = [(each["action"], each["by"], each["text"]) for each in client.get(path).json()["events"]]
    assert events == [
        ("opened", "analyst", "a pattern"), ("note", "analyst", "called the customer"), ("escalated", "analyst", "above my limit"),
        ("closed", "reviewer", "confirmed"), ("reopened", "analyst", "an appeal"),
    ]  # fmt: skip


def test_many_are_labelled_at_once_and_only_its_own(world: World) -> None:
    world.take(decided("a"), decided("b"), decided("c", "decline"), decided("x", card_id="card-2"))
    client = world.client("analyst")
    path = f"/api/v1/cases/{begin(client).json()['case']}"
    foreign = client.post(f"{path}/label", json={"label": "fraud", "why": "w", "transaction_ids": ["a", "x"]})
    assert (foreign.status_code, foreign.json()["field"]) == (422, "transaction_ids")
    assert client.get("/api/v1/queue").json()["open"] == 3
    world.client("reviewer").put("/api/v1/queue/b/lock", json={})
    made = client.post(
        f"{path}/label", json={"label": "fraud", "why": "one ring", "transaction_ids": ["a", "b", "c"]}
    ).json()
    assert (made["accepted"], [each["transaction_id"] for each in made["refused"]]) == (["a", "c"], ["b"])
    last = client.get(path).json()["events"][-1]
    assert (last["action"], last["text"], last["detail"]) == (
        "labelled",
        "one ring",
        {"label": "fraud", "payments": 3},
    )
    client.post(f"{path}/close", json={"outcome": "fraud", "why": "w"})
    late = client.post(f"{path}/label", json={"label": "legit", "why": "w", "transaction_ids": ["a"]})
    assert late.json()["reason"] == "closed"
    (row,) = client.get("/api/v1/decisions?q=a").json()["rows"]
    assert row["label"]["label"] == "fraud"


def test_a_case_is_written_out_whole(world: World) -> None:
    world.take(decided("a"))
    client = world.client("analyst")
    number = begin(client, title="<b>امتحان</b> 🙂").json()["case"]
    found = client.get(f"/api/v1/cases/{number}/export")
    assert found.headers["Content-Disposition"] == f'attachment; filename="case-{number}.json"'
    written = json.loads(found.content)
    assert (written["title"], written["exported_by"], written["rows"][0]["transaction_id"]) == (
        "<b>امتحان</b> 🙂",
        "analyst",
        "a",
    )
    assert written["rows"][0]["reasons"]


def test_other_tenants_see_nothing_of_it(world: World) -> None:
    number = begin(world.client("analyst"), tenant="shop-b").json()["case"]
    client = world.client("reviewer", tenants=["shop-a"])
    path = f"/api/v1/cases/{number}"
    assert client.get("/api/v1/cases?closed=true").json()["rows"] == []
    assert client.get("/api/v1/cases?tenant=shop-b").status_code == 404
    assert begin(client, tenant="shop-b").status_code == 404
    for method, place, body in (
        ("GET", "", None), ("GET", "/export", None), ("POST", "/notes", {"text": "t"}), ("POST", "/assign", {"to": "analyst", "why": "w"}),
        ("POST", "/escalate", {"to": "analyst", "why": "w"}), ("POST", "/entities", {"entity": CARD, "why": "w"}),
        ("POST", "/label", {"label": "fraud", "why": "w", "transaction_ids": ["a"]}), ("POST", "/close", {"outcome": "fraud", "why": "w"}),
        ("POST", "/reopen", {"why": "w"}),
    ):  # fmt: skip
        assert client.request(method, path + place, json=body).status_code == 404, place
    assert len(world.client("analyst").get(path).json()["events"]) == 1


def test_cases_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    monkeypatch.setattr(module, "MAX_EVENTS", 3)
    monkeypatch.setattr(module, "MAX_ENTITIES", 2)
    client = world.client("analyst")
    path = f"/api/v1/cases/{begin(client).json()['case']}"
    assert begin(client, {"kind": "ip", "id": "203.0.113.7"}).json()["reason"] == "refused"
    for n, code in ((1, 204), (2, 409)):
        more = {"entity": {"kind": "device", "id": f"d-{n}"}, "why": "w"}
        assert client.post(f"{path}/entities", json=more).status_code == code
    assert client.post(f"{path}/notes", json={"text": "t"}).status_code == 204
    assert client.post(f"{path}/notes", json={"text": "t"}).status_code == 409
    assert begin(client, {"kind": "card", "id": "a\u0000b"}).status_code == 422


def test_a_closed_case_goes_after_its_time_and_an_open_one_stays(world: World) -> None:
    client = world.client("analyst")
    closed, still = (
        begin(client).json()["case"],
        begin(client, {"kind": "ip", "id": "203.0.113.7"}).json()["case"],
    )
    client.post(f"/api/v1/cases/{closed}/close", json={"outcome": "unclear", "why": "w"})
    with world.database.write() as connection:
        trim(connection, NOW_S + (KEEP_CASES_DAYS - 1) * DAY_S)
    assert client.get(f"/api/v1/cases/{closed}").status_code == 200
    with world.database.write() as connection:
        trim(connection, NOW_S + (KEEP_CASES_DAYS + 1) * DAY_S)
    assert client.get(f"/api/v1/cases/{closed}").status_code == 404
    assert client.get(f"/api/v1/cases/{still}").status_code == 200
    left = world.database.read().execute("SELECT DISTINCT case_id FROM case_event").fetchall()
    assert [row[0] for row in left] == [still]
