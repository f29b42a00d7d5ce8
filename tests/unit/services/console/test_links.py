"""Links between entities: against a plain walk over the same payments, and what is left out of them."""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from services.console.kept import links as module
from tests.support.console_world import World, decided

KINDS = ("card", "merchant", "device", "ip", "customer")
Payment = Mapping[str, str | None]


def paid(world: World, *payments: Payment, tenant: str = "default", age_s: float = 60.0) -> None:
    """Let the console keep these payments; ``id`` names one, others are numbered."""
    for payment in payments:
        name = payment.get("id") or f"tx-{secrets.token_hex(6)}"
        world.take(decided(name, card_id=payment["card"], tenant=tenant), age_s=age_s)
        with world.database.write() as connection:
            connection.execute(
                "UPDATE decision SET merchant_id = ?, device_id = ?, ip = ?, customer_id = ? WHERE transaction_id = ?",
                (*(payment.get(kind) for kind in KINDS[1:]), name),
            )


def asked(world: World, kind: str, name: str, more: str = "") -> dict[str, Any]:
    found: dict[str, Any] = world.client("analyst").get(f"/api/v1/links?kind={kind}&id={name}{more}").json()
    return found


def walked(payments: list[Payment], start: tuple[str, str]) -> tuple[dict[Any, int], dict[Any, int]]:
    """Steps by entity, and payments by link, in ten obvious lines."""
    steps = {start: 0}
    for step in (1, 2):
        reached = {node for node, at in steps.items() if at == step - 1}
        for payment in payments:
            ends = [(kind, payment[kind]) for kind in KINDS if payment.get(kind)]
            for one in ends:
                for other in ends:
                    if one in reached and (one[0] == "card") != (other[0] == "card"):
                        steps.setdefault(other, step)  # type: ignore[arg-type]
    links: dict[Any, int] = {}
    for payment in payments:
        for kind in KINDS[1:]:
            card, other = ("card", payment["card"]), (kind, payment.get(kind))
            if card in steps and other in steps:
                links[card, other] = links.get((card, other), 0) + 1
    return steps, links


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_a_plain_walk_finds(world: World, seed: int) -> None:
    chance = random.Random(seed)
    payments: list[Payment] = [
        {
            "id": f"tx-{n}", "card": f"c-{chance.randrange(12)}", "merchant": f"m-{chance.randrange(6)}",
            "device": chance.choice([None, f"d-{chance.randrange(9)}"]), "ip": chance.choice([None, f"203.0.113.{chance.randrange(9)}"]),
        }
        for n in range(25)
    ]  # fmt: skip
    paid(world, *payments)
    for start in (("card", "c-1"), ("merchant", "m-2"), ("device", "d-3")):
        found = asked(world, *start)
        steps, links = walked(payments, start)
        assert {(node["kind"], node["id"]): node["step"] for node in found["nodes"]} == steps
        # links between entities of the last step may come from payments that nobody had to read
        shown = {
            (("card", each["card"]), (each["kind"], each["id"])): each["payments"] for each in found["links"]
        }
        assert {link: n for link, n in links.items() if min(steps[link[0]], steps[link[1]]) < 2} == shown
        assert found["left_out"] == 0


def test_who_occurs_only_together_is_rare_and_what_everybody_uses_is_not(world: World) -> None:
    paid(world, *({"card": f"c-{n}", "merchant": "m-all"} for n in range(9)))
    paid(world, {"card": "c-0", "merchant": "m-all", "device": "d-0"}, {"card": "c-0", "device": "d-0"})
    found = {
        each["id"]: each["rarity"] for each in asked(world, "card", "c-0")["links"] if each["card"] == "c-0"
    }
    # two of c-0's three payments are on d-0, whose only ones they are; two of twelve at m-all
    assert found == {"d-0": round(2 / 3, 4), "m-all": round(2 / 11, 4)}


def test_what_everybody_uses_is_shown_and_not_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HUB", 3)
    paid(
        world, *({"card": f"c-{n}", "merchant": "m-all"} for n in range(5)), {"card": "c-0", "device": "d-0"}
    )
    paid(world, {"card": "c-9", "device": "d-0"})
    found = asked(world, "card", "c-0")
    assert {node["id"] for node in found["nodes"]} == {"c-0", "d-0", "m-all", "c-9"}
    assert found["not_followed"] == [{"kind": "merchant", "id": "m-all"}]


def test_there_are_at_most_so_many_and_it_says_how_many_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NODES", 8)
    monkeypatch.setattr(module, "MAX_FIRST", 4)
    paid(
        world,
        *({"card": "c-0", "device": f"d-{n}"} for n in range(6)),
        *({"card": f"c-{n}", "device": "d-1"} for n in range(1, 9)),
    )
    found = asked(world, "card", "c-0")
    assert len(found["nodes"]) <= 8
    assert found["left_out"] >= 2


def test_only_the_tenant_and_the_time_that_were_asked_for(world: World) -> None:
    paid(world, {"card": "c-0", "device": "d-0"}, age_s=60)
    paid(world, {"card": "c-1", "device": "d-0"}, age_s=7200)
    paid(world, {"card": "c-2", "device": "d-0"}, tenant="shop-b")
    assert {node["id"] for node in asked(world, "device", "d-0")["nodes"]} == {"d-0", "c-0", "c-1"}
    since = world.now().isoformat().replace("+00:00", "Z").replace(":", "%3A")
    assert [node["id"] for node in asked(world, "device", "d-0", f"&from={since}")["nodes"]] == ["d-0"]
    theirs = world.client("analyst", tenants=["shop-a"])
    assert theirs.get("/api/v1/links?kind=device&id=d-0&tenant=shop-b").status_code == 404
    assert theirs.get("/api/v1/links?kind=device&id=d-0").status_code == 404
