"""The pages' development server answers in the shapes of the API: what is built and tested against it fits the real one."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.console_world import World, decided
from tests.support.node import WEB, node

#: routes whose answers are the console's own; others are the CLI's ``--json``, held by the CLI's tests
ROUTES = [
    "/session", "/setup", "/overview", "/series?seconds=4&step=1", "/queue", "/decisions", "/features", "/people", "/keys",
    "/rules/vocabulary", "/decisions/ID/timeline", "/decisions/ID/related", "/cases", "/cases/1", "/links?kind=card&id=CARD", "/lists/LIST",
]  # fmt: skip
#: answered by other parts of a stack, which the test's console has not
OTHERS = {"rollout", "alerts", "lag", "model", "rules", "lists"}


@pytest.fixture
def stand_in() -> Iterator[httpx.Client]:
    if node() is None:
        pytest.skip("no Node.js")
    server = subprocess.Popen(
        [str(node()), "dev/server.mjs", "--port", "0", "--rows", "20"], cwd=WEB, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert server.stdout is not None
        with httpx.Client(base_url=server.stdout.readline().strip(), timeout=10) as client:
            client.post("/api/v1/session", json={"name": "operator", "password": "any words will do"})
            begin(client, client.get("/api/v1/queue").json()["rows"][0]["card_id"])
            yield client
    finally:
        server.kill()
        server.wait(10)


@pytest.fixture
def real(tmp_path: Path) -> Any:
    world = World(tmp_path)
    world.take(decided("tx-1"), decided("tx-2"))
    with world.database.write() as connection:
        connection.execute("UPDATE decision SET device_id = 'd-1'")
    client = world.client("admin")
    begin(client, "card-1")
    return client


def begin(client: Any, card: str) -> None:
    """Open a case about a card."""
    asked = {"entities": [{"kind": "card", "id": card}], "title": "", "why": "a pattern"}
    assert client.post("/api/v1/cases", json=asked).status_code == 201


def names(value: Any, place: str = "") -> set[str]:
    """The names of fields at any depth; of a list, those of all its items."""
    if isinstance(value, list):
        return set().union(*(names(each, f"{place}[]") for each in value))
    if not isinstance(value, dict):
        return set()
    own = {f"{place}.{name}" for name in value}
    return own.union(*(names(each, f"{place}.{name}") for name, each in value.items() if name not in OTHERS))


def has_items(one: Any, other: Any, place: str = "") -> set[str]:
    """Places where both have something to compare: lists that are empty, and nulls, on either side say nothing of their fields."""
    if isinstance(one, list) and isinstance(other, list):
        pairs = itertools.product(one[:5], other[:5])
        return set().union(*(has_items(mine, theirs, f"{place}[]") for mine, theirs in pairs))
    if isinstance(one, dict) and isinstance(other, dict):
        below = (
            has_items(one[name], other[name], f"{place}.{name}")
            for name in one.keys() & other.keys() - OTHERS
        )
        return {place}.union(*below)
    return set()


def filled(route: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        route = route.replace(name, value)
    return route


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_fields(route: str, stand_in: httpx.Client, real: httpx.Client) -> None:
    row = stand_in.get("/api/v1/queue").json()["rows"][0]
    of_mine = {"ID": row["transaction_id"], "CARD": row["card_id"], "LIST": "stolen-devices"}
    made = stand_in.get(f"/api/v1{filled(route, of_mine)}")
    told = real.get(f"/api/v1{filled(route, {'ID': 'tx-1', 'CARD': 'card-1', 'LIST': 'stolen'})}")
    assert (made.status_code, told.status_code) == (200, 200), told.text
    places = has_items(made.json(), told.json())
    assert places or route.startswith("/keys")

    def compared(found: Any) -> set[str]:
        return {name for name in names(found) if name.rpartition(".")[0] in places}

    assert compared(made.json()) == compared(told.json())
