"""One person cannot take the threads on which the console answers everybody."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from services.console.people.turns import MAX_AT_ONCE, Turns
from services.console.problems import Problem
from tests.support.console_world import World


def test_who_asks_too_much_at_once_is_told_and_others_are_answered() -> None:
    turns = Turns(2)
    with turns.of("anna"), turns.of("anna"):
        with pytest.raises(Problem, match="2 things at once"):
            turns.of("anna").__enter__()
        with turns.of("bert"):
            pass
    with turns.of("anna"):
        pass


def test_every_request_of_a_session_counts(world: World) -> None:
    analyst, other = world.client("analyst"), world.client("reviewer")
    with ExitStack() as asking:
        for _ in range(MAX_AT_ONCE):
            asking.enter_context(world.console.turns.of("analyst"))
        refused = analyst.get("/api/v1/queue")
        assert (refused.status_code, refused.json()["reason"]) == (429, "too_many")
        assert other.get("/api/v1/queue").status_code == 200
    for _ in range(MAX_AT_ONCE + 1):
        assert analyst.get("/api/v1/queue").status_code == 200
