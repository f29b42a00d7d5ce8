"""Aliases of registered versions follow the states of bundles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from services.trainer.tracking import move_alias


class Registry:
    """The part of MLflow's client that knows aliases."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}

    def get_registered_model(self, _name: str) -> Any:
        return SimpleNamespace(aliases=dict(self.aliases))

    def set_registered_model_alias(self, _name: str, alias: str, number: str) -> None:
        self.aliases[alias] = number

    def delete_registered_model_alias(self, _name: str, alias: str) -> None:
        del self.aliases[alias]


def test_aliases_follow_a_version_through_its_life() -> None:
    registry = Registry()
    states = {"1": "", "2": "", "3": ""}
    seen = []
    for number, state in (
        ("1", "approved"), ("1", "live"), ("2", "awaiting approval"), ("2", "live"), ("1", "superseded"), ("3", "awaiting approval"),
        ("3", "rejected"), ("1", "live"), ("2", "rolled back"),
    ):  # fmt: skip
        move_alias(registry, number, states[number], state)
        states[number] = state
        seen.append(dict(registry.aliases))
    assert seen == [
        {"challenger": "1"}, {"champion": "1"}, {"champion": "1", "challenger": "2"}, {"champion": "2"}, {"champion": "2"},
        {"champion": "2", "challenger": "3"}, {"champion": "2"}, {"champion": "1"}, {"champion": "1"},
    ]  # fmt: skip
