"""Attributes of one's own in rules and lists: what they match, and what is refused against what the stack declares."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.attributes import Attribute, Attributes
from models.policy.checking import problems
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule, parse_policy
from models.policy.policy_file import PolicyFile, read_policy_file
from models.policy.rules.columns import TableColumns
from models.policy.rules.language import parse
from models.policy.rules.literals import names_in
from services.cli.main import run
from streams.runtime.settings import Settings

DECLARED = Attributes({"tier": Attribute("text"), "items": Attribute("number"), "order": Attribute("text")})
ROWS: dict[str, list[Any]] = {
    "attributes.tier": ["gold", "basic", None, "black"],
    "attributes.items": [7, None, 0.5, 30],
    "attributes.order": ["a", "b", None, "c"],
    "amount_minor": [100, 200, 300, 400],
    "tenant": ["default"] * 4,
}


def matched(when: str, rows: dict[str, list[Any]] = ROWS) -> list[int]:
    policy = Policy(version="1", review=0.5, decline=0.9, rules=(Rule("r", when, "review", "ann"),))
    _, names = parse_policy(policy.to_json()).decide(np.zeros(4, np.float32), None, TableColumns(rows), 0.0)
    return [row for row, found in enumerate(names) if found]


@pytest.mark.parametrize(
    ("when", "rows"),
    [
        ("attributes.tier = 'gold'", [0]), ("'gold' = attributes.tier", [0]), ("ATTRIBUTES.Tier = 'gold'", [0]),
        ("attributes.tier <> 'gold'", [1, 3]), ("attributes.tier IN ('gold', 'black')", [0, 3]), ("NOT attributes.tier IN ('gold')", [1, 3]),
        ("attributes.tier LIKE 'b%%'".replace("%%", "l%"), [3]), ("attributes.tier IS NULL", [2]), ("attributes.items IS NULL", [1]),
        ("attributes.items IS NOT NULL", [0, 2, 3]), ("attributes.items > 5", [0, 3]), ("attributes.items = 0.5", [2]),
        ("attributes.items BETWEEN 1 AND 10", [0]), ("attributes.items IN (7, 30)", [0, 3]), ("coalesce(attributes.items, 0) = 0", [1]),
        ("attributes.items * 10 < amount_minor AND attributes.tier = 'gold'", [0]), ("attributes.order = 'b'", [1]),
    ],
)  # fmt: skip
def test_conditions_name_them(when: str, rows: list[int]) -> None:
    assert matched(when) == rows
    assert problems(PolicyFile((Rule("r", when, "review", "ann"),)), lambda _: None, DECLARED) == []


def test_a_value_of_another_type_is_no_value() -> None:
    assert matched("attributes.items > 5", {**ROWS, "attributes.items": ["many", 7, None, 1]}) == [1]
    assert matched("attributes.tier = 'gold'", {**ROWS, "attributes.tier": [1, "gold", None, 2.5]}) == [1]


def test_names_are_what_a_condition_reads() -> None:
    node = parse("r", "attributes.tier = 'gold' AND attributes.hour > 3 AND hour > 3")
    assert names_in(node) == ["attributes.tier", "attributes.hour", "hour"]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("attributes.tire = 'gold'", "`attributes.tire` is not declared under .attributes.*did you mean attributes.tier"),
        ("attributes.tier > 3", "`attributes.tier` is compared or calculated with numbers, and settings.toml declares it a text"),
        ("attributes.items = 'seven'", "`attributes.items` is compared with texts, and settings.toml declares it a number"),
        ("attributes.items LIKE 'se%'", "is compared with texts"), ("attributes.unknown IS NULL", "is not declared"),
        ("attributes.tier = 'gold '", "does not begin or end with a blank; did you mean 'gold'"),
        ("attributes.tier = 'gold' AND attributes.tier = 'basic'", "never true"), ("attributes.items > 10 AND attributes.items < 5", "never true"),
        ("attributes.items > 2e15", "larger than 1e.15"), ("other.items > 2", "the prefixes of names are features. and attributes."),
    ],
)  # fmt: skip
def test_what_can_never_be_is_refused(when: str, why: str) -> None:
    found = problems(PolicyFile((Rule("r", when, "review", "ann"),)), lambda _: None, DECLARED)
    assert any(re.search(why, error) for error in found), found


def listed(field: str, *values: str) -> PolicyList:
    return PolicyList(
        name="l", kind="block", field=field, owner="ann", expires=datetime(2100, 1, 1, tzinfo=UTC),
        entries=tuple(map(Entry, values)),
    )  # fmt: skip


def test_lists_hold_them() -> None:
    policy = Policy(version="1", review=0.5, decline=0.9, lists=(listed("attributes.tier", "gold", "black"),))
    codes, _ = parse_policy(policy.to_json()).decide(np.zeros(4, np.float32), None, TableColumns(ROWS), 0.0)
    assert codes.tolist() == [2, 0, 0, 2]
    assert problems(PolicyFile(lists=policy.lists), lambda _: None, DECLARED) == []
    for field, why in (("attributes.items", "declares it a number"), ("attributes.x", "is not declared")):
        (error,) = problems(PolicyFile(lists=(listed(field, "gold"),)), lambda _: None, DECLARED)
        assert error.startswith(f"list l: `{field}`") and why in error


def test_a_list_of_something_else_is_refused() -> None:
    text = '[[lists]]\nname = "l"\nkind = "block"\nfield = "amount"\nowner = "ann"\n'
    (error,) = read_policy_file(text, is_json=False, beside=lambda _: "").errors
    assert "one of card_id, merchant_id, customer_id, device_id, ip, or attributes.NAME" in error


def test_check_compares_with_the_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rules]]\nname = "r"\nwhen = "attributes.tier = 3"\naction = "review"\nowner = "ann"\n')
    arguments = ["rules", "check", str(path), "--home", str(tmp_path)]
    # no stack there: nothing to compare with
    assert run(arguments) == 0
    Settings(home=str(tmp_path), attributes=dict(DECLARED.declared)).save()
    assert run(arguments) == 2
    assert "settings.toml declares it a text" in capsys.readouterr().err
