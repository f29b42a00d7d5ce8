"""The page for analysts: its file is good, its conditions mean something, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from infra.stack.tools import CHECKOUT
from models.policy.checking import problems
from models.policy.policy import Policy
from models.policy.policy_file import read_policy_file
from models.policy.rules.checking import rule_errors
from models.policy.rules.rule import Rule
from services.cli.models import commands as models
from services.cli.rules import commands as rules
from streams.contracts.text.card_numbers import find_card_number

PAGE = (CHECKOUT / "models" / "RULES.md").read_text()
TABLE = PAGE[PAGE.index("| | example |") : PAGE.index("Fields: ")]
CONDITIONS = re.findall(r"`([^`]+)`", TABLE)


def test_the_whole_file_is_good_and_becomes_a_policy() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    file, errors = read_policy_file(text, is_json=False, beside=lambda name: Path(name).read_text())
    assert errors == []
    assert problems(file, find_card_number) == []
    policy = file.applied_to(Policy(version="1", review=0.3, decline=0.8), "2")
    assert policy.evaluation is not None
    assert (policy.review, len(policy.rules), len(policy.lists), len(policy.thresholds)) == (0.02, 1, 2, 2)
    assert policy.expected_loss is not None and policy.expected_loss.rates["JPY"] == 0.6


@pytest.mark.parametrize("when", CONDITIONS)
def test_each_condition_of_the_table_is_good(when: str) -> None:
    assert rule_errors(Rule("example", when, "review", "ann")) == []


def test_the_table_has_conditions() -> None:
    assert len(CONDITIONS) >= 15


def test_its_commands_exist() -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.strip().splitlines():
        _, group, command = line.split("#")[0].split()[:3]
        found = {"rules": rules.rules, "models": models.models}[group]
        assert isinstance(found, click.Group) and command in found.commands
