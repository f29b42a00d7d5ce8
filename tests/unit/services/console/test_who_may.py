"""Every route against every role, who is signed in at all, and requests from other sites."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

import pytest
from fastapi.routing import APIRoute

from services.console.app import ROUTERS
from services.console.people.caller import May, signed_in
from services.console.routes import overview
from streams.access.console_events import read_events
from streams.access.directory import change_directory, read_directory, without_member
from streams.access.roles import MAY, Permission, Role
from tests.support.console_world import PEOPLE, World, decided

#: routes for people who are not signed in
OPEN = {
    "POST /api/v1/session", "GET /api/v1/setup", "POST /api/v1/welcome/look", "POST /api/v1/welcome", "GET /api/v1/oidc", "GET /api/v1/oidc/back",
}  # fmt: skip
#: bodies that fit, where an empty one does not
BODIES: dict[str, Any] = {
    "approve": {"why": "w"}, "promote": {"why": "w"}, "reject": {"why": "w"}, "retrain": {"why": "w"}, "rollout": {"why": "w"}, "pause": {"why": "w"}, "resume": {"why": "w"}, "step": {"why": "w"}, "abort": {"why": "w"}, "rollback": {"why": "w"},
    "hand-over": {"to": "admin"}, "notes": {"text": "t"}, "label": {"label": "fraud"}, "check": {"text": "t"},
    "test": {"text": "t"}, "propose": {"text": "t", "csv": "value", "why": "w"}, "preview": {"csv": "value"},
    "cases": {"entities": [{"kind": "card", "id": "c"}], "why": "w"}, "entities": {"entity": {"kind": "card", "id": "c"}, "why": "w"},
    "assign": {"to": "admin", "why": "w"}, "escalate": {"to": "admin", "why": "w"}, "close": {"outcome": "fraud", "why": "w"}, "reopen": {"why": "w"}, "silences": {"alert": "KafkaDown", "minutes": 5, "why": "w"},
    "replay": {"ids": ["transactions/0/1"]}, "people": {"name": "new", "role": "analyst"}, "keys": {"name": "new"},
    "break-glass": {"why": "w"}, "password": {"current": "c", "new": "n"},
}  # fmt: skip
VALUES = {
    "transaction_id:path": "tx-1",
    "version": "1.0.0",
    "name": "reviewer",
    "key_id": "ab",
    "kind": "card",
    "case_id": "1",
    "feature": "amount",
}


def routes() -> list[tuple[str, str, Permission | None]]:
    """Method, path and the permission that a route's dependencies ask for; None: only to be signed in."""
    found = []
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            asked = [each.call for each in route.dependant.dependencies]
            permissions = [call.permission for call in asked if isinstance(call, May)]
            (method,) = route.methods
            if f"{method} {route.path}" in OPEN:
                assert not permissions
                continue
            assert permissions or signed_in in asked, f"anybody may {method} {route.path}"
            found.append((method, route.path, permissions[0] if permissions else None))
    return found


ALL = routes()


def ask(client: Any, method: str, path: str) -> Any:
    filled = re.sub(
        r"{([^}]+)}", lambda match: VALUES.get(match[1], VALUES.get(match[1].split(":")[0], "x")), path
    )
    body = BODIES.get(path.rsplit("/", 1)[-1], {}) if method in ("POST", "PUT") else None
    return client.request(method, filled, json=body)


def test_there_are_routes_for_every_screen() -> None:
    assert len(ALL) > 40
    assert {permission for _, _, permission in ALL} >= {"read", "label", "propose", "retrain", "approve", "reject", "rollback", "operate", "access"}  # fmt: skip


@pytest.mark.parametrize("role", PEOPLE)
def test_each_role_may_what_its_permissions_say(world: World, role: Role) -> None:
    for method, path, permission in ALL:
        if path in ("/api/v1/events", "/api/v1/session") or path.endswith("/password"):
            continue
        found = ask(world.client(role), method, path)
        allowed = permission is None or permission in MAY[role]
        assert (found.status_code != 403) == allowed, (method, path, found.status_code, found.text[:200])
        assert found.status_code != 500, (method, path)
        if not allowed:
            assert found.json()["reason"] == "forbidden"
    # the stream does not end by itself: that it may be opened is all that is asked
    noted = [event for event in read_events(world.access) if event.kind == "refused"]
    refused = {(m, p) for m, p, permission in ALL if permission is not None and permission not in MAY[role] and p != "/api/v1/events"}  # fmt: skip
    assert {event.why for event in noted} == {f"{m} {p}" for m, p in refused}
    assert {(event.name, event.role) for event in noted} <= {(role, role)}


def test_nobody_is_served_without_a_session(world: World) -> None:
    client = world.client()
    for method, path, _ in ALL:
        found = ask(client, method, path)
        assert (found.status_code, found.json()["reason"]) == (401, "signed_out"), (method, path)


def test_a_session_ends_with_time_and_with_its_person(world: World) -> None:
    client = world.client("analyst")
    assert client.get("/api/v1/session").json()["person"] == "analyst"
    for _ in range(20):
        # used all the time, it lives on, but not for ever
        world.store.now_s += 40 * 60
        last = client.get("/api/v1/session").status_code
    assert last == 401
    idle = world.client("analyst")
    world.store.now_s += 46 * 60
    assert idle.get("/api/v1/session").status_code == 401
    fired = world.client("analyst")
    change_directory(world.access, lambda known: without_member(known, "analyst", "admin", world.now()))
    assert fired.get("/api/v1/session").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:21008"},
    ],
)
def test_another_site_changes_nothing(world: World, headers: dict[str, str]) -> None:
    world.take(decided("tx-1"))
    found = world.client("analyst").post("/api/v1/queue/tx-1/label", json={"label": "fraud"}, headers=headers)
    assert (found.status_code, found.json()["reason"]) == (403, "cross_site")
    assert world.client("analyst").get("/api/v1/queue").json()["open"] == 1


def test_a_request_of_the_own_origin_counts(world: World) -> None:
    world.take(decided("tx-1"))
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:21008"}
    answer = world.client("analyst").post(
        "/api/v1/queue/tx-1/label", json={"label": "fraud"}, headers=headers
    )
    assert answer.status_code == 202


def test_a_foreign_name_that_points_here_is_refused(world: World) -> None:
    found = world.client("analyst").get("/api/v1/queue", headers={"Host": "evil.example:21008"})
    assert (found.status_code, found.json()["reason"]) == (421, "host")


def test_bodies_have_a_type_and_a_size(world: World) -> None:
    client = world.client("analyst")
    assert (
        client.post("/api/v1/rules/check", content=b"{}", headers={"Content-Type": "text/plain"}).status_code
        == 415
    )
    assert client.post("/api/v1/rules/check", json={"text": "x" * 3_000_000}).status_code == 413
    assert (
        client.post(
            "/api/v1/rules/check", content=b"{", headers={"Content-Type": "application/json"}
        ).status_code
        == 422
    )


def test_browsers_are_told_what_to_refuse(world: World) -> None:
    for path in ("/", "/queue", "/api/v1/setup", "/api/nothing"):
        headers = world.client().get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


def test_people_see_their_tenants_only(world: World) -> None:
    world.take(decided("tx-a", tenant="shop-a"), decided("tx-b", tenant="shop-b", card_id="card-b"))
    world.outside.decisions = {("shop-b", "tx-b"): {"decision": {"card_id": "card-b"}}}
    client = world.client("analyst", tenants=["shop-a"])
    assert [row["transaction_id"] for row in client.get("/api/v1/queue").json()["rows"]] == ["tx-a"]
    assert [row["transaction_id"] for row in client.get("/api/v1/decisions").json()["rows"]] == ["tx-a"]
    assert client.get("/api/v1/overview").json()["queue"]["open"] == 1
    assert sum(client.get("/api/v1/series").json()["review"]) == 1
    for path in ("queue", "decisions", "overview", "series"):
        assert client.get(f"/api/v1/{path}?tenant=shop-b").status_code == 404
    for method, path, body in (
        ("GET", "decisions/tx-b?tenant=shop-b", None), ("GET", "decisions/tx-b/timeline?tenant=shop-b", None),
        ("GET", "decisions/tx-b/related?tenant=shop-b", None), ("GET", "decisions/tx-b/trace?tenant=shop-b", None),
        ("GET", "decisions/tx-b/explained?tenant=shop-b", None), ("GET", "decisions/tx-b/again?tenant=shop-b", None), ("PUT", "queue/tx-b/lock", {"tenant": "shop-b"}),
        ("DELETE", "queue/tx-b/lock?tenant=shop-b", None), ("DELETE", "queue/tx-b/label?tenant=shop-b", None),
        ("POST", "queue/tx-b/label", {"tenant": "shop-b", "label": "fraud"}),
        ("POST", "queue/tx-b/hand-over", {"tenant": "shop-b", "to": "admin"}),
        ("POST", "decisions/tx-b/notes", {"tenant": "shop-b", "text": "t"}), ("POST", "queue/next?tenant=shop-b", {}),
    ):  # fmt: skip
        assert client.request(method, f"/api/v1/{path}", json=body).status_code == 404, (method, path)
    many = client.post(
        "/api/v1/queue/label",
        json={"label": "fraud", "items": [{"transaction_id": "tx-b", "tenant": "shop-b"}]},
    )
    assert many.json()["accepted"] == []
    assert client.post("/api/v1/queue/next").json()["transaction_id"] == "tx-a"
    assert client.post("/api/v1/queue/next").json()["transaction_id"] == "tx-a"
    for path in ("dead-letters", "performance", "models/compare", "models/thresholds?version=1.0.0"):
        assert client.get(f"/api/v1/{path}").status_code == 403, path
    # its samples are payments of every tenant, and a condition can ask for any card
    tested = client.post("/api/v1/rules/test", json={"text": "t"})
    assert tested.status_code == 403 and "all tenants" in tested.json()["detail"]


def test_who_sees_some_tenants_only_lets_nobody_see_more(world: World) -> None:
    admin = world.client("admin", tenants=["shop-a"])
    for path, body in (("people", {"name": "friend", "role": "analyst"}), ("people/reviewer/link", {}), ("keys", {"name": "k", "tenant": "shop-b"})):  # fmt: skip
        assert admin.post(f"/api/v1/{path}", json=body).status_code == 403, path


def test_nothing_secret_is_in_an_answer(world: World) -> None:
    secrets = {world.settings.redis}
    secrets |= {path.read_text().split("\n")[1] for path in (world.access / "keys").glob("*.key")}
    client = world.client("admin")
    shown = json.dumps(
        [
            ask(client, "GET", path).text
            for method, path, _ in ALL
            if method == "GET" and path != "/api/v1/events"
        ]
    )
    assert [secret for secret in secrets if secret in shown] == []
    assert "$argon2id" not in shown
    assert read_directory(world.access).stack not in shown


class Gone:
    """A request whose browser has gone."""

    async def is_disconnected(self) -> bool:
        return True


def test_one_person_cannot_take_every_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> None:
        async for _ in overview._events(Gone(), world.console, "", [], "ann"):  # type: ignore[arg-type]
            pytest.fail("nobody listens")

    asyncio.run(watch())
    assert overview.watching["ann"] == 0, "a stream that has ended is counted no more"
    client = world.client("operator")
    name = client.get("/api/v1/session").json()["person"]
    monkeypatch.setattr(overview, "watching", Counter({name: overview.MAX_EACH}))
    refused = client.get("/api/v1/events")
    assert refused.status_code == 429 and "close one" in refused.json()["detail"]
