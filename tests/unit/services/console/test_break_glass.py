"""Rights beyond a role in an emergency: with a reason, for a while, on the audit, with a page; signatures stay with the role."""

from __future__ import annotations

from streams.access.console_events import read_events
from streams.access.roles import MAY
from streams.runtime.metrics import CONSOLE_GLASS
from tests.support.console_world import PEOPLE, World, decided
from tests.support.metric_values import counted

GLASS = "/api/v1/session/break-glass"
SILENCE = {"alert": "KafkaDown", "minutes": 5, "why": "w"}


def test_it_needs_a_reason_ends_and_is_written_down(world: World) -> None:
    client, before = world.client("analyst"), counted(CONSOLE_GLASS)
    assert client.post("/api/v1/silences", json=SILENCE).status_code == 403
    assert client.post(GLASS, json={"why": "", "minutes": 10}).status_code == 422
    assert client.post(GLASS, json={"why": "w", "minutes": 61}).status_code == 422
    assert counted(CONSOLE_GLASS) == before
    made = client.post(GLASS, json={"why": "nobody on call answers", "minutes": 10}).json()
    assert "operate" in made["permissions"] and made["glass_until"]
    assert counted(CONSOLE_GLASS) == before + 1
    assert client.post("/api/v1/silences", json=SILENCE).status_code == 201
    # another session of the same person has not got it
    assert world.client("analyst").post("/api/v1/silences", json=SILENCE).status_code == 403
    world.store.now_s += 601
    assert client.post("/api/v1/silences", json=SILENCE).status_code == 403
    assert client.get("/api/v1/session").json()["glass_until"] is None
    noted = [
        (event.kind, event.name, event.why) for event in read_events(world.access) if "glass" in event.kind
    ]
    assert noted == [
        ("break glass", "analyst", "for 10 min: nobody on call answers"), ("broken glass used", "analyst", "POST /api/v1/silences"),
    ]  # fmt: skip


def test_what_needs_a_signature_stays_with_the_role(world: World) -> None:
    world.take(decided("tx-1"))
    for role in PEOPLE:
        client = world.client(role)
        client.post(GLASS, json={"why": "w"})
        held = {
            "approve": "/api/v1/models/1.0.0/approve", "reject": "/api/v1/models/1.0.0/reject", "rollback": "/api/v1/models/rollback",
            "retrain": "/api/v1/models/retrain", "access": "/api/v1/people/nobody/link",
        }  # fmt: skip
        for permission, path in held.items():
            refused = client.post(path, json={"why": "w"}).status_code == 403
            assert refused == (permission not in MAY[role]), (role, path)


def test_who_sees_some_tenants_only_may_not(world: World) -> None:
    client = world.client("analyst", tenants=["shop-a"])
    assert client.post(GLASS, json={"why": "w"}).status_code == 403
    free = world.client("reviewer")
    free.post(GLASS, json={"why": "w"})
    # limited since
    world.client("reviewer", tenants=["shop-a"])
    assert free.post("/api/v1/silences", json=SILENCE).status_code == 403
