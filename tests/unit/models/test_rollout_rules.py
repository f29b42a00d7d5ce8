"""Which version may go where: every action from every state, and only what a person approved becomes live."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from models.bundle.registry import State
from models.rollout.plan import MAX_STEPS, METRICS, parse_plan
from models.rollout.progress import begin
from models.rollout.run import Check
from models.rollout.transitions import (
    MAX_WHY,
    Action,
    Change,
    RolloutRequest,
    Standing,
    TransitionRefused,
    decide,
    first_model,
)
from services.rollout.requests import decode_request
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.rollout import RolloutRecord, decode_rollout
from streams.contracts.text.json_encoding import encode

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


def test_the_longest_request_makes_a_record_that_replicas_read() -> None:
    """A record that nobody can read would be in force for ever: what may be asked is bounded by what may be read."""
    # six bytes in JSON
    longest = "\x01"
    guards = "".join(
        f'[[guards]]\nmetric = "{metric}"\nmin = 0.001\nmax = {1.000000001 if metric != "score_psi" else 9.5}\n'
        for metric in METRICS
        if metric not in ("latency_p99_ms", "caught_money")
    )
    steps = (
        '[[steps]]\nkind = "canary"\nshare = 0.123456789\nmin_decisions = 1234567\nmin_s = 1.5\n' * MAX_STEPS
    )
    text = f"alpha = 0.01\n{steps}{guards}"
    request = {
        "request_id": longest * 128, "action": "rollout", "model": "f" * 64, "version": "v" * 64, "by": longest * 128,
        "why": longest * MAX_WHY, "requested_at": NOW.isoformat(), "plan": text, "evidence": longest * 128,
    }  # fmt: skip
    taken = decode_request(msgspec.json.encode(request))
    checks = tuple(
        Check(
            name=metric,
            result="inconclusive",
            n=2**53,
            estimate=1 / 3,
            low=-1 / 3,
            high=2 / 3,
            limit="x" * 100,
        )
        for metric in METRICS
    )
    run = msgspec.structs.replace(
        begin(taken.request_id, parse_plan(text), "c" * 64, str(taken.version), longest * 64, NOW), checks=checks,
        figures={f"moved_minor_{code:03}": 1e18 / 7 for code in range(200)}, proven=METRICS,
    )  # fmt: skip
    record = RolloutRecord(
        model=taken.model, champion="c" * 64, previous="p" * 64, arms={"champion": "c" * 64, "challenger": "v" * 64},
        traffic={"champion": 1 / 3, "challenger": 2 / 3}, state="rolled_back", approved_by=taken.by, why=taken.why, since=NOW,
        sequence=2**52, signed_by=longest * 64, audit_entries=2**52, audit_head="f" * 64, salt=run.id, run=run,
        evidence=str(taken.evidence),
    )  # fmt: skip
    assert decode_rollout(encode(record)) == record
    for name, value in (("why", "x" * (MAX_WHY + 1)), ("by", "x" * 129), ("plan", "#" * 8_193)):
        with pytest.raises(InvalidEvent, match=name):
            decode_request(msgspec.json.encode({**request, name: value}))
