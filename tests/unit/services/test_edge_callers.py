"""API keys at the HTTP edge: who is let in, for which tenant, at which rate, until when; on both ways that requests take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.main import run
from services.client import Client, NotFound
from services.scoring.edge.callers import LOOK_S, NOTE_S, Callers
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.edge.problems import Problem
from services.scoring.http.app import build_app
from services.scoring.http.examples import LABEL as LABEL_EXAMPLE
from services.scoring.http.examples import TRANSACTION
from streams.access.api_keys import KEYS_FILE, ApiKey, last_use_s, make_key, read_keys, revoke_key
from streams.access.directory import AccessError
from streams.access.roles import Role
from streams.runtime.settings import Settings
from tests.support.edge_fakes import FakeModel, FakePublisher, FakeStore
from tests.support.edge_keys import KEYS

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TX = {**TRANSACTION, "transaction_id": "tx-1"}
LABEL = {name: value for name, value in LABEL_EXAMPLE.items() if name != "tenant"} | {
    "label_time": NOW.isoformat()
}


class Clock:
    def __init__(self) -> None:
        self.s = NOW.timestamp()

    def __call__(self) -> float:
        return self.s


def made(
    home: Path, role: Role = "service", tenant: str = "acme", **more: Any
) -> tuple[ApiKey, dict[str, str]]:
    fields = {"by": "x", "now": NOW, "expires_at": None, "per_second": None, **more}
    key, text = make_key(home / "access", "shop", role, tenant, **fields)
    return key, {"authorization": f"Bearer {text}"}


def raw(authorization: str) -> dict[bytes, bytes]:
    """A request's headers as the server gives them."""
    return {b"authorization": authorization.encode()}


class World:
    """An edge without a model, behind ASGI."""

    def __init__(self, home: Path, access: str = "required", limits: Limits | None = None) -> None:
        self.clock, self.publisher, self.store = Clock(), FakePublisher(), FakeStore()
        settings = Settings(home=str(home), access=access, deadline_ms=8000)  # type: ignore[arg-type]
        self.edge = Edge(
            settings, FakeModel(None), self.store, self.publisher, limits or Limits(), KEYS, self.clock
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(self.edge)), base_url="http://edge"
        )

    async def score(self, headers: dict[str, str], **fields: Any) -> httpx.Response:
        body = {name: value for name, value in {**TX, **fields}.items() if value is not None}
        return await self.client.post("/v1/score", content=json.dumps(body), headers=headers)

    def tenants(self) -> list[str]:
        return [json.loads(value)["tenant"] for _, _, value, _ in self.publisher.records]


def go(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


ROUTES = [
    ("POST", "/v1/score"), ("POST", "/v1/score/batch"), ("POST", "/v1/labels"), ("GET", "/v1/decisions/tx-1"),
    ("GET", "/v1/model"), ("GET", "/metrics"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_nothing_is_answered_where_one_is_required(
    tmp_path: Path, method: str, path: str
) -> None:
    async def work() -> None:
        world = World(tmp_path)
        for headers in (
            {},
            {"authorization": "Bearer tg_none_x"},
            {"authorization": "Basic dGc="},
            {"authorization": ""},
        ):
            answer = await world.client.request(method, path, content=b"{}", headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert world.publisher.records == []

    go(work)


def test_health_is_open(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        assert (await world.client.get("/healthz")).status_code == 200
        assert (await world.client.get("/readyz")).status_code == 503

    go(work)


def test_the_tenant_is_the_keys(tmp_path: Path) -> None:
    _, headers = made(tmp_path)

    async def work() -> None:
        world = World(tmp_path)
        assert (await world.score(headers, tenant=None)).json()["tenant"] == "acme"
        assert (await world.score(headers, transaction_id="tx-2", tenant="acme")).status_code == 200
        for other in ("other", "default"):
            answer = await world.score(headers, transaction_id="tx-3", tenant=other)
            assert (answer.status_code, answer.json()["field"]) == (403, "tenant")
        batch = [
            {**TX, "transaction_id": f"b-{tenant}", "tenant": tenant}
            for tenant in ("acme", "other", "default")
        ]
        unnamed = {name: value for name, value in TX.items() if name != "tenant"}
        empty = [{**unnamed, "transaction_id": f"b-{value}", "tenant": value} for value in ("", None)]
        body = json.dumps({"transactions": [*batch, {**unnamed, "transaction_id": "b-none"}, *empty]})
        answer = await world.client.post("/v1/score/batch", content=body, headers=headers)
        found = [one.get("tenant") or one["error"]["status"] for one in answer.json()["decisions"]]
        assert found == ["acme", 403, 403, "acme", "acme", "acme"]
        assert set(world.tenants()) == {"acme"}

    go(work)


def test_a_batch_of_which_none_names_a_tenant_is_the_keys(tmp_path: Path) -> None:
    _, headers = made(tmp_path)

    async def work() -> None:
        world = World(tmp_path)
        unnamed = {name: value for name, value in TX.items() if name != "tenant"}
        body = json.dumps({"transactions": [{**unnamed, "transaction_id": f"b-{i}"} for i in range(5)]})
        answer = await world.client.post("/v1/score/batch", content=body, headers=headers)
        assert [one["tenant"] for one in answer.json()["decisions"]] == ["acme"] * 5

    go(work)


def test_another_tenants_decision_is_not_found(tmp_path: Path) -> None:
    (_, mine), (_, others) = made(tmp_path), made(tmp_path, tenant="other")

    async def work() -> None:
        world = World(tmp_path)
        assert (await world.score(mine, tenant=None)).status_code == 200
        assert (await world.client.get("/v1/decisions/tx-1", headers=mine)).status_code == 200
        assert (await world.client.get("/v1/decisions/tx-1", headers=others)).status_code == 404
        for named, code in (("acme", 200), ("other", 403), ("default", 403)):
            answer = await world.client.get(f"/v1/decisions/tx-1?tenant={named}", headers=mine)
            assert answer.status_code == code

    go(work)


def test_a_label_is_of_the_keys_tenant(tmp_path: Path) -> None:
    _, headers = made(tmp_path)

    async def work() -> None:
        world = World(tmp_path)
        for tenant, code in ((None, 202), ("acme", 202), ("other", 403), ("default", 403)):
            body = json.dumps(LABEL if tenant is None else {**LABEL, "tenant": tenant})
            answer = await world.client.post("/v1/labels", content=body, headers=headers)
            assert answer.status_code == code, answer.text
        assert world.tenants() == ["acme", "acme"]

    go(work)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("service", {"/v1/score", "/v1/labels", "/v1/model"}), ("operator", {"/v1/score", "/v1/labels", "/v1/model"}),
        ("analyst", {"/v1/labels", "/v1/model"}), ("reviewer", {"/v1/labels", "/v1/model"}), ("approver", {"/v1/model"}),
    ],
)  # fmt: skip
def test_a_role_may_do_its_part(tmp_path: Path, role: Role, allowed: set[str]) -> None:
    _, headers = made(tmp_path, role)

    async def work() -> None:
        world = World(tmp_path)
        for method, path in (("POST", "/v1/score"), ("POST", "/v1/labels"), ("GET", "/v1/model")):
            answer = await world.client.request(method, path, content=b"{}", headers=headers)
            assert (answer.status_code != 403) == (path in allowed), path

    go(work)


def test_an_open_edge_still_checks_a_key_that_is_sent(tmp_path: Path) -> None:
    _, headers = made(tmp_path)

    async def work() -> None:
        world = World(tmp_path, "open")
        assert (await world.score({})).status_code == 200
        assert (await world.score({"authorization": "Bearer tg_x"})).status_code == 401
        assert (await world.score(headers, tenant="other")).status_code == 403

    go(work)


def test_a_keys_rate(tmp_path: Path) -> None:
    _, slow = made(tmp_path, per_second=1.0)
    _, usual = made(tmp_path)

    async def work() -> None:
        world = World(tmp_path)
        codes = [(await world.score(slow, transaction_id=f"s{i}", tenant=None)).status_code for i in range(4)]
        assert codes == [200, 200, 429, 429]
        answer = await world.score(slow, transaction_id="s9", tenant=None)
        assert answer.headers["retry-after"] == "1" and "API key" in answer.json()["detail"]
        assert (await world.score(usual, transaction_id="u1", tenant=None)).status_code == 200
        unnamed = {name: value for name, value in TX.items() if name != "tenant"}
        world.clock.s += 10
        body = json.dumps({"transactions": [{**unnamed, "transaction_id": f"b-{i}"} for i in range(4)]})
        batch = (await world.client.post("/v1/score/batch", content=body, headers=slow)).json()["decisions"]
        assert [one.get("error", {}).get("status") for one in batch] == [None, None, 429, 429]

    go(work)


def test_revocation_and_expiry_count_within_a_second(tmp_path: Path) -> None:
    home = tmp_path
    clock = Clock()
    callers = Callers(Settings(home=str(home), access="required"), clock)
    with pytest.raises(Problem):
        callers.caller(raw("Bearer tg_not_yet"), "score")
    key, headers = made(home, expires_at=NOW + timedelta(hours=1))
    sent = raw(headers["authorization"])
    clock.s += LOOK_S
    found = callers.caller(sent, "score")
    assert found is not None and (found.id, found.tenant) == (key.id, "acme")
    assert callers.caller(raw(headers["authorization"].replace("Bearer", "bearer")), "read") == found
    revoke_key(home / "access", key.id, by="x", now=NOW)
    with pytest.raises(AccessError, match="or it is revoked"):
        revoke_key(home / "access", key.id, by="x", now=NOW)
    clock.s += LOOK_S
    with pytest.raises(Problem, match="was revoked"):
        callers.caller(sent, "score")
    again, headers = made(home, expires_at=NOW + timedelta(hours=1))
    clock.s += LOOK_S
    assert callers.caller(raw(headers["authorization"]), "score") == again
    clock.s = (NOW + timedelta(hours=1)).timestamp()
    with pytest.raises(Problem, match="expired"):
        callers.caller(raw(headers["authorization"]), "score")


def test_a_secured_stack_asks_for_a_key_whatever_its_settings_say(tmp_path: Path) -> None:
    assert Callers(Settings(home=str(tmp_path)), Clock()).caller({}, "score") is None
    with pytest.raises(Problem, match="API key is required"):
        Callers(Settings(home=str(tmp_path), secure=True), Clock()).caller({}, "score")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:19003", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "localhost:19003", "origin": "http://localhost:19003"}, 200),
        ({"host": "[::1]:19003", "origin": "http://[::1]:19003"}, 200),
        ({"origin": "https://shop.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-site"}, 403),
        # a name that an attacker points here (DNS rebinding)
        ({"host": "127.shop.example:19003", "origin": "http://127.shop.example:19003"}, 403),
    ],
)
def test_what_a_browser_sends_for_another_page_is_refused_where_no_key_is_needed(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def work() -> None:
        world = World(tmp_path, access="open")
        sent = {"host": "127.0.0.1:19003", "content-type": "text/plain", **headers}
        answer = await world.score(sent)
        assert answer.status_code == status and len(world.publisher.records) == (status == 200)
        label = await world.client.post("/v1/labels", content=json.dumps(LABEL), headers=sent)
        assert (label.status_code == 403) == (status == 403)

    go(work)


def test_a_page_of_somewhere_else_may_use_a_key(tmp_path: Path) -> None:
    _, headers = made(tmp_path)

    async def work() -> None:
        answer = await World(tmp_path, access="open").score(
            {**headers, "origin": "https://shop.example"}, tenant=None
        )
        assert answer.status_code == 200

    go(work)


def test_a_broken_file_leaves_the_known_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    callers = Callers(Settings(home=str(tmp_path), access="required"), clock)
    _, headers = made(tmp_path)
    assert callers.caller(raw(headers["authorization"]), "score") is not None
    (tmp_path / "access" / KEYS_FILE).write_bytes(b"[{")
    clock.s += LOOK_S
    assert callers.caller(raw(headers["authorization"]), "score") is not None
    assert "those known before stay" in caplog.text


def test_the_secret_is_nowhere_and_the_last_use_is_noted(tmp_path: Path) -> None:
    clock = Clock()
    key, headers = made(tmp_path)
    secret = headers["authorization"].split("_", 2)[2]
    assert len(secret) == 43
    assert last_use_s(tmp_path / "access", key.id) is None
    callers = Callers(Settings(home=str(tmp_path), access="required"), clock)
    callers.caller(raw(headers["authorization"]), "score")
    first = last_use_s(tmp_path / "access", key.id)
    assert first is not None
    clock.s += NOTE_S / 2
    callers.caller(raw(headers["authorization"]), "score")
    assert last_use_s(tmp_path / "access", key.id) == first
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    with pytest.raises(Problem) as refusal:
        callers.caller(raw(headers["authorization"] + "x"), "score")
    assert secret not in str(refusal.value)


def test_the_client_sends_its_key() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(404, json={})

    for key in (None, "tg_a_b"):
        with Client("http://edge", key=key, transport=httpx.MockTransport(answer)) as client:
            with pytest.raises(NotFound):
                client.decision("tx-1")
    assert seen == [None, "Bearer tg_a_b"]


@pytest.mark.parametrize(
    "address", ["http://0.0.0.0:19003", "http://192.0.2.7:80", "http://edge.example:80", "http://[::]:1"]
)
def test_an_address_that_others_reach_needs_keys(address: str) -> None:
    with pytest.raises(ValueError, match='access must be "required"'):
        Settings(home="x", http=address)
    assert Settings(home="x", http=address, access="required").http == address
    for own in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.8.8.8:1"):
        assert Settings(home="x", http=own).access == "open"


def test_keys_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(tmp_path)
    assert (
        run(["access", "key", "add", "shop", "--tenant", "acme", "--days", "3", "--home", home, "--json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["key"].startswith(f"tg_{told['id']}_") and told["state"] == "active"
    (stored,) = read_keys(tmp_path / "access")
    assert (stored.tenant, stored.role, stored.name) == ("acme", "service", "shop")
    assert run(["access", "key", "revoke", told["id"], "--home", home]) == 0
    assert run(["access", "key", "revoke", told["id"], "--home", home]) == 2
    capsys.readouterr()
    assert run(["access", "key", "list", "--home", home]) == 0
    out = capsys.readouterr().out
    assert "revoked" in out and "never" in out and told["key"] not in out
    # who may not say who is known
    assert run(["access", "add", "ana", "--role", "analyst", "--home", home]) == 0
    assert run(["access", "key", "add", "x", "--as", "ana", "--home", home]) == 1
    assert "access takes admin" in capsys.readouterr().err
