"""Which version may go where: every action from every state, and only what a person approved becomes live."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models.bundle.registry import State
from models.rollout.transitions import (
    Action,
    Change,
    RolloutRequest,
    Standing,
    TransitionRefused,
    decide,
    first_model,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STATES: dict[str, State] = {
    "1.0.0": "superseded", "1.1.0": "live", "1.2.0": "awaiting approval", "1.3.0": "rejected",
    "1.4.0": "rolled back", "1.5.0": "published", "1.6.0": "approved",
}  # fmt: skip
STANDING = Standing("1.1.0", "1.0.0", 7, STATES)


def ask(action: Action, version: str | None, by: str = "ada") -> RolloutRequest:
    return RolloutRequest(
        request_id="r", action=action, model="fraud", version=version, by=by, why="", requested_at=NOW
    )


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        ("approve", {"1.2.0"}),
        ("reject", {"1.2.0", "1.5.0"}),
        ("promote", {"1.0.0", "1.4.0", "1.6.0"}),
        ("rollback", {"1.0.0", "1.4.0", "1.6.0"}),
    ],
)
def test_what_each_action_takes(action: Action, allowed: set[str]) -> None:
    taken = set()
    for version in STATES:
        try:
            decide(STANDING, ask(action, version))
            taken.add(version)
        except TransitionRefused as refusal:
            assert version in str(refusal)
    assert taken == allowed


def test_approval_makes_live_and_supersedes() -> None:
    change = decide(STANDING, ask("approve", "1.2.0"))
    assert change == Change("1.2.0", "1.1.0", "live", {"1.2.0": "live", "1.1.0": "superseded"})


def test_a_rejection_serves_nothing_else() -> None:
    assert decide(STANDING, ask("reject", "1.2.0")) == Change(None, None, "live", {"1.2.0": "rejected"})


def test_a_rollback_goes_to_the_version_before() -> None:
    change = decide(STANDING, ask("rollback", None))
    assert change == Change("1.0.0", None, "rolled_back", {"1.1.0": "rolled back", "1.0.0": "live"})


def test_nothing_to_roll_back_to() -> None:
    with pytest.raises(TransitionRefused, match="no previous version"):
        decide(Standing("1.1.0", None, 1, STATES), ask("rollback", None))
    with pytest.raises(TransitionRefused, match="no model is live"):
        decide(Standing(None, None, 0, STATES), ask("rollback", None))


@pytest.mark.parametrize("action", ["approve", "reject", "promote"])
def test_unknown_unnamed_anonymous(action: Action) -> None:
    for request in (ask(action, "9.9.9"), ask(action, None), ask(action, "1.2.0", by=" ")):
        with pytest.raises(TransitionRefused):
            decide(STANDING, request)


def test_the_first_model_is_served_only_while_nothing_was() -> None:
    assert first_model(Standing(None, None, 0, {"1.0.0": "approved"})) == "1.0.0"
    assert first_model(Standing(None, None, 0, {"1.0.0": "awaiting approval"})) is None
    assert first_model(Standing("1.0.0", None, 1, {"1.0.0": "live", "1.1.0": "approved"})) is None
    assert first_model(Standing(None, None, 0, {})) is None
