"""Sign-in: one-time links, passwords, lockout, the cookie, and what the audit gets to know."""

from __future__ import annotations

import stat
from datetime import timedelta

import pytest

from streams.access.console_events import read_events
from streams.access.directory import AccessError, change_directory, without_member
from streams.access.identity import add_person
from streams.access.logins import LINK_LIVES, LOGINS_FILE, link_owner, login_of, make_link, use_link
from tests.support.console_world import World

PASSWORD = "correct horse battery"


def link(world: World, name: str = "analyst") -> str:
    return make_link(world.access, name, by="admin", now=world.now())[0]


def test_a_link_sets_a_password_once_and_the_password_lets_in(world: World) -> None:
    assert world.client().get("/api/v1/setup").json() == {
        "people_with_password": 0,
        "provider": None,
        "passwords": True,
    }
    token = link(world)
    client = world.client()
    assert client.post("/api/v1/welcome/look", json={"token": token}).json()["person"] == "analyst"
    short = client.post("/api/v1/welcome", json={"token": token, "password": "short"})
    assert (short.status_code, short.json()["field"]) == (422, "password")
    first = client.post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
    assert first.json()["role"] == "analyst"
    cookie = first.headers["set-cookie"]
    assert cookie.startswith("tollgate-21008=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/api/v1/session").status_code == 200
    again = client.post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
    assert (again.status_code, again.json()["reason"]) == (404, "unknown")
    assert world.client().get("/api/v1/setup").json() == {
        "people_with_password": 1,
        "provider": None,
        "passwords": True,
    }
    entered = world.client()
    assert entered.post("/api/v1/session", json={"name": "analyst", "password": PASSWORD}).status_code == 200
    assert entered.delete("/api/v1/session").status_code == 204
    assert entered.get("/api/v1/session").status_code == 401
    kinds = [event.kind for event in read_events(world.access)]
    assert kinds == ["password set", "sign in", "sign in", "sign out"]


def test_what_is_stored_opens_nothing(world: World) -> None:
    token = link(world)
    path = world.access / LOGINS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text()
    use_link(world.access, token, PASSWORD, world.now())
    assert PASSWORD not in path.read_text()
    assert "$argon2id$v=19$m=19456,t=3,p=1$" in path.read_text()


def test_a_link_ends_with_time_with_a_newer_one_and_with_its_person(world: World) -> None:
    first = link(world)
    second = link(world)
    assert link_owner(world.access, first, world.now()) is None
    assert link_owner(world.access, second, world.now() + LINK_LIVES - timedelta(seconds=1)) is not None
    assert link_owner(world.access, second, world.now() + LINK_LIVES) is None
    change_directory(world.access, lambda known: without_member(known, "analyst", "admin", world.now()))
    assert link_owner(world.access, second, world.now()) is None


def test_who_comes_back_under_a_name_does_not_inherit_the_password(world: World) -> None:
    use_link(world.access, link(world), PASSWORD, world.now())
    change_directory(world.access, lambda known: without_member(known, "analyst", "admin", world.now()))
    add_person(world.access, "analyst", "admin", by="admin", now=world.now() + timedelta(seconds=1))
    assert login_of(world.access, "analyst") is None
    found = world.client().post("/api/v1/session", json={"name": "analyst", "password": PASSWORD})
    assert found.status_code == 401


@pytest.mark.parametrize("name", ["nobody", "rollout", "drift"])
def test_links_are_for_people(world: World, name: str) -> None:
    with pytest.raises(AccessError, match="no person"):
        make_link(world.access, name, by="admin", now=world.now())


def test_wrong_passwords_lock_the_name_for_a_while_and_say_the_same_as_unknown_names(world: World) -> None:
    use_link(world.access, link(world), PASSWORD, world.now())
    client = world.client()

    def enter(name: str, password: str) -> tuple[int, str]:
        found = client.post("/api/v1/session", json={"name": name, "password": password})
        return found.status_code, found.json().get("detail", "")

    assert enter("nobody", "wrong wrong wrong") == enter("analyst", "wrong wrong wrong")
    for _ in range(4):
        assert enter("analyst", "wrong wrong wrong")[0] == 401
    locked = client.post("/api/v1/session", json={"name": "analyst", "password": PASSWORD})
    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) > 800
    assert [event.kind for event in read_events(world.access)].count("locked out") == 1
    world.store.now_s += 901
    assert enter("analyst", PASSWORD)[0] == 200


def test_many_names_from_one_address_are_slowed_down(world: World) -> None:
    client = world.client()
    found = [
        client.post("/api/v1/session", json={"name": f"n{n}", "password": "x"}).status_code for n in range(31)
    ]
    assert found == [401] * 30 + [429]
    # who guesses is noted once a minute for each name, so others' events stay
    assert len(read_events(world.access)) == 30


def test_a_person_changes_the_own_password(world: World) -> None:
    use_link(world.access, link(world), PASSWORD, world.now())
    client = world.client("analyst")
    wrong = client.put("/api/v1/session/password", json={"current": "no", "new": "another long one"})
    assert (wrong.status_code, wrong.json()["reason"]) == (401, "wrong_credentials")
    assert (
        client.put("/api/v1/session/password", json={"current": PASSWORD, "new": "short"}).json()["field"]
        == "new"
    )
    assert (
        client.put(
            "/api/v1/session/password", json={"current": PASSWORD, "new": "another long one"}
        ).status_code
        == 204
    )
    assert (
        world.client()
        .post("/api/v1/session", json={"name": "analyst", "password": "another long one"})
        .status_code
        == 200
    )


def test_an_admin_adds_people_and_gives_links(world: World) -> None:
    client = world.client("admin")
    made = client.post(
        "/api/v1/people", json={"name": "anna", "role": "analyst", "tenants": ["shop-a"]}
    ).json()
    base, _, token = made["link"].partition("#")
    assert base == "http://127.0.0.1:21008/welcome"
    first = world.client().post("/api/v1/welcome", json={"token": token, "password": PASSWORD})
    assert first.json()["tenants"] == ["shop-a"]
    assert client.post("/api/v1/people", json={"name": "anna", "role": "analyst"}).status_code == 422
    assert client.post("/api/v1/people", json={"name": "../x", "role": "analyst"}).status_code == 422
    assert client.delete("/api/v1/people/anna").status_code == 204
    assert client.delete("/api/v1/people/anna").status_code == 404
    assert client.delete("/api/v1/people/admin").status_code == 409
    assert client.delete("/api/v1/people/rollout").status_code == 422
