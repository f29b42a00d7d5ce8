"""Damaged rules files and lists end in a policy that decides, or in a reason. ``make fuzz-rules COUNT=50000`` tries more of them."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.attributes import Attribute, Attributes
from features.catalogue import WIDTH
from infra.stack.tools import CHECKOUT
from models.policy.checking import warnings
from models.policy.policy import Policy
from models.policy.policy_export import as_toml, exported
from models.policy.policy_file import PolicyFile, read_policy_file
from models.policy.problems import PolicyError
from services.cli.rules.policy_versions import FileRefused, load_policy_file

COUNT = int(os.environ.get("POLICY_MUTATIONS", "300"))
FIRST = int(os.environ.get("POLICY_MUTATIONS_FROM", "0"))
DECLARED = Attributes({"loyalty_tier": Attribute("text"), "basket_items": Attribute("number")})
LIVE = Policy(version="1", review=0.1, decline=0.9)
NOW_MS = 1_795_256_130_000
LIST = b"value;expires;owner;reason\nc-1;2099-01-01T00:00:00Z;ann;three chargebacks\nc-2;;;\n\xc3\xa9;;;\n"
NAMING = (
    b'[[lists]]\nname = "reported"\nkind = "block"\nfield = "card_id"\nowner = "ann"\nexpires = 2100-01-01T00:00:00Z\n'
    b'file = "reported.csv"\n'
)
TOKENS = [
    "[", "]", "{", "}", '"', "'", '"""', "=", ",", "\n", "\r", "\0", "#", ".", "nan", "inf", "-1", "9" * 400, "1e400", "true", "0x10",
    "entries", "when", "[[rules]]", "[[lists]]", "[thresholds]", " AND ", " OR ", "NOT ", "(", ")", "hour", "LIKE", "BETWEEN", "IN ()", "IS NULL",
    "attributes.loyalty_tier", "features.", "4111111111111111", "\u2028", "\ud800", "é", "2026-02-30", "2100-01-01T00:00:00Z", "x" * 300, "../", "file = '/etc/passwd'",
]  # fmt: skip


class Columns:
    """Three payments; what a field holds does not matter, that a rule meets it does."""

    rows: tuple[dict[str, Any], ...] = (
        {"card_id": "c-1", "amount_minor": 1299, "currency": "EUR", "channel": "ecom", "country": "FR", "tenant": "default"},
        {"card_id": "c-2", "ip": "2001:db8::1", "latitude": 48.8, "attributes.loyalty_tier": "gold", "tenant": "shop-a"},
        {"device_id": "d-bad", "mcc": "5411", "attributes.basket_items": 7, "tenant": "default"},
    )  # fmt: skip

    def column(self, name: str) -> list[Any]:
        return [row.get(name) for row in self.rows]


def seeds() -> list[tuple[str, bytes]]:
    """Names and contents of files that are right: the page's own example, as JSON too."""
    (page,) = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "models" / "RULES.md").read_text(), re.DOTALL)
    file, errors = read_policy_file(page, is_json=False, beside=lambda _: LIST.decode())
    assert not errors
    as_json = json.dumps(exported(file.applied_to(LIVE, "2")), default=datetime.isoformat, indent=1)
    return [
        ("rules.toml", page.encode()),
        ("rules.json", as_json.encode()),
        ("rules.toml", page.encode() + NAMING),
    ]


def damaged(raw: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(raw) + 1)
        end = min(len(raw), at + dice.choice((0, 1, 2, 8, 60)))
        kind = dice.randrange(5)
        if kind == 0:
            raw = raw[:at] + bytes(dice.randrange(256) for _ in range(end - at)) + raw[end:]
        elif kind == 1:
            raw = raw[:at] + raw[end:]
        elif kind == 2:
            raw = raw[:end] + raw[at:end] * dice.choice((1, 2, 50)) + raw[end:]
        else:
            token = dice.choice(TOKENS).encode(errors="surrogatepass")
            raw = raw[:at] + token + raw[at if kind == 3 else end :]
    return raw


def outcome(path: Path) -> str:
    """``decides``, or the first words of the first reason. Whatever is not a reason is raised: a defect."""
    try:
        file = load_policy_file(path, DECLARED)
        policy = file.applied_to(LIVE, "2")
    except FileRefused as refused:
        assert refused.exit_code == 2 and refused.found and all(refused.found)
        return refused.found[0].split(":")[-1][:30]
    except PolicyError as error:
        assert str(error)
        return str(error)[:30]
    decides(policy)
    warnings(file)
    again(policy)
    return "decides"


def decides(policy: Policy) -> None:
    failures: list[object] = []
    matrix = np.full((3, WIDTH), np.nan, np.float32)
    matrix[1:] = 1.0
    scores = np.array([0.05, np.nan, 0.99], np.float32)
    found = policy.verdict(scores, matrix, Columns(), NOW_MS, lambda *what: failures.append(what))
    assert len(found.codes) == len(found.matched) == 3 and set(found.codes.tolist()) <= {0, 1, 2}
    assert not failures, failures


def again(policy: Policy) -> None:
    """What is exported can be published, and is the same."""
    file, errors = read_policy_file(as_toml(policy, "policy 2"), is_json=False, beside=str)
    assert not errors and file.applied_to(policy, "2") == policy


def test_without_damage_they_decide(tmp_path: Path) -> None:
    for name, content in seeds():
        for file, raw in {name: content, **dict.fromkeys(lists_named(content), LIST)}.items():
            (tmp_path / file).write_bytes(raw)
        assert outcome(tmp_path / name) == "decides"


def lists_named(content: bytes) -> list[str]:
    """The CSV files that a rules file names."""
    return re.findall(r'^file = "([\w.-]+)"', content.decode(errors="replace"), re.MULTILINE)


@pytest.mark.timeout(COUNT // 10 + 300)
def test_damage_ends_in_a_policy_or_a_reason(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    cases = seeds()
    names = lists_named(NAMING)
    for number in range(FIRST, FIRST + COUNT):
        dice = random.Random(number)
        name, content = cases[number % len(cases)]
        in_list = number % len(cases) == 2 and dice.random() < 0.7
        (tmp_path / name).write_bytes(content if in_list else damaged(content, dice))
        for other in names:
            (tmp_path / other).write_bytes(damaged(LIST, dice) if in_list else LIST)
        try:
            outcomes[outcome(tmp_path / name)] += 1
        except BaseException:
            print(f"case {number}: {tmp_path / name}")
            raise
    # the damage is of all degrees
    assert outcomes["decides"] > COUNT / 20 and len(outcomes) > 10


def test_an_empty_file_removes_all(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_bytes(b"")
    assert load_policy_file(tmp_path / "rules.toml") == PolicyFile()
