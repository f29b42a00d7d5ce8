"""Lists: entries, what a change from CSV would do, what is wrong with it, and that it is only ever proposed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.support.console_world import World

LIST = "/api/v1/lists/stolen"
NEW = {
    "kind": "allow",
    "field": "card_id",
    "owner": "ann",
    "reason": "vouched for",
    "expires": "2027-01-31T00:00:00Z",
}


def preview(world: World, csv: str, path: str = LIST, **more: Any) -> dict[str, Any]:
    answer = world.client("analyst").post(f"{path}/preview", json={"csv": csv} | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def proposed(world: World) -> dict[str, Any]:
    """The policy file that was proposed last."""
    _, text, _, _ = next(each for each in reversed(world.outside.asked) if each[0] == "propose_rules")
    return tomllib.loads(text)


def test_entries_with_what_they_take_from_their_list(world: World) -> None:
    client = world.client("analyst")
    found = client.get(LIST).json()
    assert [(row["value"], row["owner"], row["reason"]) for row in found["rows"]] == [
        ("d-2", "bob", "chargebacks"), ("d-1", "ann", "case 7"),
    ]  # fmt: skip
    assert [row["value"] for row in client.get(f"{LIST}?within_days=6").json()["rows"]] == ["d-2"]
    assert client.get(f"{LIST}?within_days=4").json()["rows"] == []
    assert client.get(f"{LIST}?q=d-1").json()["counted"] == 1
    assert client.get(f"{LIST}?limit=1").json()["counted"] == 2
    assert client.get("/api/v1/lists/none").status_code == 404


def test_what_a_change_would_do(world: World) -> None:
    csv = "value;expires;reason\nd-3;2027-05-01T00:00:00Z;case 9\nd-2;2027-05-01T00:00:00Z;\n"
    found = preview(world, csv)
    assert (found["good"], found["counts"]) == (True, {"new": 1, "changed": 1, "removed": 0, "same": 1})
    assert [(row["fate"], row["value"]) for row in found["rows"]] == [
        ("changed", "d-2"),
        ("new", "d-3"),
        ("same", "d-1"),
    ]
    assert preview(world, "value\nd-1\n", mode="remove")["counts"] == {
        "new": 0,
        "changed": 0,
        "removed": 1,
        "same": 1,
    }
    assert preview(world, "value\nd-1\nd-9\n", mode="replace")["counts"] == {
        "new": 1,
        "changed": 0,
        "removed": 1,
        "same": 1,
    }
    assert preview(world, csv, "/api/v1/lists/other", **{**NEW, "field": "device_id"})["counts"]["new"] == 2
    assert world.outside.asked == []


@pytest.mark.parametrize(
    ("csv", "more", "said"),
    [
        ("device\nd-1\n", {}, "must begin with the names of its columns"),
        ("value,expires\nd-3,tomorrow\n", {}, "line 2"),
        ("value\nd-3\nd-3\n", {}, "d-3 occurs twice"),
        ("value\nd-9\n", {"mode": "remove"}, "d-9 is not on it"),
        ("value\n", {}, "has no entries"),
        ("value\n4111 1111 1111 1111\n", {}, "card number"),
        ("value\nd-3\n", {"field": "ip"}, "holds device_id"),
        ("value\nd-3 \n", {}, "d-3 "),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_proposed(
    world: World, csv: str, more: dict[str, Any], said: str
) -> None:
    found = preview(world, csv, **more)
    assert not found["good"]
    assert said in "\n".join(found["errors"])
    assert "4111" not in "\n".join(found["errors"])
    refused = world.client("analyst").post(f"{LIST}/propose", json={"csv": csv, "why": "w"} | more)
    assert (refused.status_code, refused.json()["field"]) == (422, "csv")
    assert world.outside.asked == []


def test_a_new_list_needs_to_be_told_what_it_is(world: World) -> None:
    errors = preview(world, "value\nc-1\n", "/api/v1/lists/vip")["errors"]
    assert {"kind", "field", "owner"} <= {
        name for name in ("kind", "field", "owner") if any(f"`{name}`" in error for error in errors)
    }
    assert preview(world, "value\nc-1\n", "/api/v1/lists/vip", **NEW)["good"]
    without = {name: value for name, value in NEW.items() if name != "expires"}
    assert "no expiry" in preview(world, "value\nc-1\n", "/api/v1/lists/vip", **without)["errors"][0]


def test_a_change_is_proposed_in_the_name_of_who_asks_and_keeps_the_rest(world: World) -> None:
    client = world.client("analyst")
    case = client.post(
        "/api/v1/cases", json={"entities": [{"kind": "card", "id": "c-1"}], "why": "w"}
    ).json()["case"]
    asked = {"csv": "value\nc-1\n", "why": "vouched for", "case": case, **NEW}
    assert client.post("/api/v1/lists/vip/propose", json=asked).status_code == 200
    assert world.outside.asked[-1][2:] == ("analyst", "vouched for")
    lists = {each["name"]: each for each in proposed(world)["lists"]}
    assert [each if isinstance(each, str) else each["value"] for each in lists["stolen"]["entries"]] == [
        "d-1",
        "d-2",
    ]
    assert (lists["vip"]["kind"], lists["vip"]["entries"]) == ("allow", ["c-1"])
    last = client.get(f"/api/v1/cases/{case}").json()["events"][-1]
    assert (last["action"], last["detail"]["list"], last["detail"]["entries"]) == ("proposed", "vip", ["c-1"])
    assert client.post("/api/v1/lists/vip/propose", json={**asked, "case": 99}).status_code == 404
