"""Who proposed a model does not review it; what nobody else has approved is served as unreviewed, and says so."""

from __future__ import annotations

import json

import pytest

from infra.stack.health.status import served_model
from models.rollout.transitions import RolloutRequest
from services.cli.main import run
from services.cli.stack import unreviewed
from services.rollout.process import Rollout
from streams.access.identity import acting, add_person
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.feed import newest_rollout
from tests.support.rollout_stack import NOW, RolloutStack

MODEL = "fraud"


class Asked:
    """Requests to a rollout process, one after the other."""

    def __init__(self, stack: RolloutStack) -> None:
        self.stack, self.number = stack, 0
        self.rollout = Rollout(stack.settings, stack.ledger())
        self.me = acting(stack.settings.access_dir, None, NOW).name

    def person(self, name: str, role: str) -> None:
        add_person(self.stack.settings.access_dir, name, role, by=self.me, now=NOW)  # type: ignore[arg-type]

    def __call__(self, action: str, version: str | None, person: str | None = None) -> RolloutRecord:
        self.number += 1
        request = RolloutRequest(
            request_id=str(self.number), action=action, model=MODEL, version=version, by=person or self.me, why="",  # type: ignore[arg-type]
            requested_at=NOW,
        )  # fmt: skip
        assert self.rollout.handle(self.stack.sign(request, person), NOW)
        newest = newest_rollout(self.stack.settings, MODEL)
        assert newest is not None
        return newest


@pytest.fixture
def asked(rollout_stack: RolloutStack) -> Asked:
    return Asked(rollout_stack)


def shown(stack: RolloutStack, capsys: pytest.CaptureFixture[str]) -> dict[str, bool]:
    capsys.readouterr()
    assert run(["models", "list", "--home", stack.settings.home, "--json"]) == 0
    return {row["version"]: row["reviewed"] for row in json.loads(capsys.readouterr().out)}


def test_the_first_model_is_unreviewed_until_a_person_approves_it(
    rollout_stack: RolloutStack, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert served_model(rollout_stack.settings) is None
    rollout_stack.publish("1.0.0", "approved")
    assert asked.rollout.serve_first(NOW) == "1.0.0"
    found = served_model(rollout_stack.settings)
    assert found is not None and (found["version"], found["reviewed"]) == ("1.0.0", False)
    assert "unreviewed" in unreviewed(found) and shown(rollout_stack, capsys) == {"1.0.0": False}
    assert run(["models", "list", "--home", rollout_stack.settings.home]) == 0
    assert "live, unreviewed" in capsys.readouterr().out
    # the stack's start trained it, nobody's hand: its operator may review it
    record = asked("approve", "1.0.0")
    assert (record.champion, record.sequence, record.reviewed, record.signed_by) == (
        "1.0.0",
        2,
        True,
        asked.me,
    )
    found = served_model(rollout_stack.settings)
    assert found is not None and unreviewed(found) == "" and shown(rollout_stack, capsys) == {"1.0.0": True}
    assert asked("approve", "1.0.0").sequence == 2, "approved already: refused"


def test_alone_one_may_serve_ones_own_model_but_not_review_it(
    rollout_stack: RolloutStack, asked: Asked
) -> None:
    rollout_stack.publish("1.0.0", author=asked.me)
    record = asked("approve", "1.0.0")
    assert (record.champion, record.reviewed, record.sequence) == ("1.0.0", False, 1)
    assert asked("approve", "1.0.0").sequence == 1, "once more by the same person: refused"
    asked.person("ada", "approver")
    record = asked("approve", "1.0.0", "ada")
    assert (record.champion, record.reviewed, record.sequence, record.signed_by) == ("1.0.0", True, 2, "ada")


def test_who_proposed_it_cannot_approve_it_where_others_may(
    rollout_stack: RolloutStack, asked: Asked
) -> None:
    rollout_stack.publish("1.0.0", "approved")
    asked.rollout.serve_first(NOW)
    asked.person("ada", "approver")
    asked.person("bob", "approver")
    rollout_stack.publish("1.1.0", author="ada")
    assert asked("approve", "1.1.0", "ada").champion == "1.0.0"
    assert asked("promote", "1.1.0", "ada").champion == "1.0.0"
    record = asked("approve", "1.1.0", "bob")
    assert (record.champion, record.reviewed) == ("1.1.0", True)
    # who may not approve anything does not count as another pair of eyes
    asked.person("ana", "analyst")
    rollout_stack.publish("1.2.0", author="ana")
    assert asked("approve", "1.2.0", "ana").champion == "1.1.0"


def test_a_review_is_remembered_by_the_version(rollout_stack: RolloutStack, asked: Asked) -> None:
    rollout_stack.publish("1.0.0", "approved")
    asked.rollout.serve_first(NOW)
    rollout_stack.publish("1.1.0")
    assert asked("approve", "1.1.0").reviewed
    # back to what nobody reviewed, and again to what somebody did
    assert not asked("rollback", None).reviewed
    assert asked("promote", "1.1.0").reviewed
