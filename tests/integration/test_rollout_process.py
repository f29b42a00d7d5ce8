"""The rollout process over a broker: approve, reject, roll back, refuse; restarts forget nothing; followers are told."""

from __future__ import annotations

import threading
from datetime import timedelta

import msgspec
import pytest

from models.bundle.registry import read_state
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy
from models.rollout.transitions import RolloutRequest
from services.rollout.ledger import Statement
from services.rollout.process import Rollout
from services.rollout.requests import RolloutRefused, RolloutTimeout, approve, ask, promote, reject, rollback
from streams.access.signed_record import Signed
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.feed import follow_rollouts, newest_rollout
from tests.support.policy_samples import publish_with
from tests.support.rollout_stack import NOW, RolloutStack
from tests.support.waiting import STALL_S, until


def test_the_life_of_two_models(rollout_stack: RolloutStack, rollout_process: Rollout) -> None:
    rollout_stack.publish("1.0.0")
    rollout_stack.publish("1.1.0")
    rollout_stack.publish("1.2.0")
    assert newest_rollout(rollout_stack.settings, "fraud") is None
    who = {"by": "ada", "why": "looks good", "now": NOW}
    assert approve(rollout_stack.settings, "fraud", "1.0.0", **who)["champion"] == "1.0.0"
    answer = approve(rollout_stack.settings, "fraud", "1.1.0", **who)
    assert (answer["champion"], answer["previous"], answer["sequence"]) == ("1.1.0", "1.0.0", 2)
    assert reject(rollout_stack.settings, "fraud", "1.2.0", **who)["state"] == "rejected"
    back = rollback(rollout_stack.settings, "fraud", **who)
    assert (back["champion"], back["state"], back["approved_by"]) == ("1.0.0", "rolled_back", "ada")
    until(lambda: rollout_stack.states()["1.0.0"] == "live", STALL_S, "the version before to be live")
    assert rollout_stack.states() == {"1.0.0": "live", "1.1.0": "rolled back", "1.2.0": "rejected"}
    with pytest.raises(RolloutRefused, match="no previous version"):
        rollback(rollout_stack.settings, "fraud", **who)
    assert promote(rollout_stack.settings, "fraud", "1.1.0", **who)["sequence"] == 4
    newest = newest_rollout(rollout_stack.settings, "fraud")
    assert newest is not None and (newest.champion, newest.arms) == ("1.1.0", {"champion": "1.1.0"})
    assert rollout_stack.audit() == 6


def test_a_model_that_would_switch_a_list_off_is_not_approved(
    rollout_stack: RolloutStack, rollout_process: Rollout
) -> None:
    rollout_stack.publish("1.0.0")
    rollout_stack.publish("1.1.0")
    blocked = PolicyList(
        name="stolen", kind="block", field="card_id", owner="ann", expires=NOW + timedelta(days=9999), entries=(Entry("c-1"),)
    )  # fmt: skip
    publish_with(
        rollout_stack.settings.root,
        Policy(version="2", review=0.5, decline=0.9, lists=(blocked,)),
        "1.0.1",
        "awaiting approval",
    )
    who = {"by": "ada", "why": "looks good", "now": NOW}
    for version in ("1.0.0", "1.0.1"):
        approve(rollout_stack.settings, "fraud", version, **who)
    with pytest.raises(
        RolloutRefused, match=r"block list stolen of ann \(missing, 1 entries lost\).*models rebase 1.1.0"
    ):
        approve(rollout_stack.settings, "fraud", "1.1.0", **who)
    newest = newest_rollout(rollout_stack.settings, "fraud")
    assert newest is not None and newest.champion == "1.0.1"
    # the way back stays open
    assert rollback(rollout_stack.settings, "fraud", "1.0.0", **who)["champion"] == "1.0.0"


def test_a_tampered_bundle_is_not_approved(rollout_stack: RolloutStack, rollout_process: Rollout) -> None:
    rollout_stack.publish("1.0.0")
    policy = rollout_stack.settings.bundles_dir / "fraud/1.0.0/policy.json"
    policy.write_bytes(policy.read_bytes().replace(b"review", b"revieW"))
    with pytest.raises(RolloutRefused, match="not the file that was signed"):
        approve(rollout_stack.settings, "fraud", "1.0.0", by="ada", why="", now=NOW)
    assert newest_rollout(rollout_stack.settings, "fraud") is None
    assert rollout_stack.states() == {"1.0.0": "awaiting approval"}


def test_without_a_rollout_process_there_is_no_answer(rollout_stack: RolloutStack) -> None:
    with pytest.raises(RolloutTimeout, match="is the rollout process running"):
        ask(rollout_stack.settings, "approve", "fraud", "1.0.0", by="ada", why="", now=NOW, timeout_s=1.0)


def test_a_repeated_request_is_answered_once_even_after_a_restart(rollout_stack: RolloutStack) -> None:
    rollout_stack.publish("1.0.0")
    request = RolloutRequest(
        request_id="same",
        action="approve",
        model="fraud",
        version="1.0.0",
        by="ada",
        why="",
        requested_at=NOW,
    )
    rollout = Rollout(rollout_stack.settings, rollout_stack.ledger())
    assert rollout.handle(rollout_stack.sign(request), NOW)
    assert not rollout.handle(rollout_stack.sign(request), NOW)
    again = Rollout(rollout_stack.settings, rollout_stack.ledger())
    assert not again.handle(rollout_stack.sign(request), NOW)
    assert (rollout_stack.audit(), again.standing("fraud").sequence) == (1, 1)
    assert not again.handle(Signed(b"nonsense"), NOW)


def test_a_death_between_answer_and_record_is_mended(rollout_stack: RolloutStack) -> None:
    rollout_stack.publish("1.0.0")
    record = RolloutRecord(
        model="fraud", champion="1.0.0", previous=None, arms={"champion": "1.0.0"}, traffic={"champion": 1.0},
        state="live", approved_by="ada", why="", since=NOW, sequence=1,
    )  # fmt: skip
    said = Statement(action="approve", model="fraud", version="1.0.0", by="ada", request_id="half")
    rollout_stack.ledger().note(said, "accepted", msgspec.to_builtins(record), NOW)
    assert newest_rollout(rollout_stack.settings, "fraud") is None
    ledger = rollout_stack.ledger()
    Rollout(rollout_stack.settings, ledger).settle(NOW)
    assert rollout_stack.audit() == 1 and "half" in ledger.answered
    newest = newest_rollout(rollout_stack.settings, "fraud")
    assert newest is not None and (newest.champion, newest.audit_entries) == ("1.0.0", 1)
    state = read_state(rollout_stack.settings.bundles_dir, "fraud", "1.0.0")
    assert state is not None and (state.state, state.by) == ("live", "ada")


def test_the_first_approved_model_is_served_at_once(rollout_stack: RolloutStack) -> None:
    rollout_stack.publish("1.0.0", "approved")
    rollout = Rollout(rollout_stack.settings, rollout_stack.ledger())
    assert rollout.serve_first(NOW) == "1.0.0"
    assert rollout.serve_first(NOW) is None
    newest = newest_rollout(rollout_stack.settings, "fraud")
    assert newest is not None and (newest.champion, newest.approved_by) == ("1.0.0", "trainer")


def test_followers_get_the_newest_then_every_later_one(rollout_stack: RolloutStack) -> None:
    for version in ("1.0.0", "1.1.0"):
        rollout_stack.publish(version)
    rollout = Rollout(rollout_stack.settings, rollout_stack.ledger())
    for number, version in enumerate(("1.0.0", "1.1.0")):
        request = RolloutRequest(
            request_id=str(number),
            action="approve",
            model="fraud",
            version=version,
            by="a",
            why="",
            requested_at=NOW,
        )
        rollout.handle(rollout_stack.sign(request), NOW)
    told: list[int] = []

    def tell(record: RolloutRecord) -> None:
        told.append(record.sequence)
        if len(told) == 1:
            raise RuntimeError("a callback's own trouble")

    stop = threading.Event()
    thread = follow_rollouts(rollout_stack.settings, stop, tell)
    until(lambda: told, STALL_S, "the newest record")
    assert told == [2]
    back = RolloutRequest(
        request_id="b", action="rollback", model="fraud", version=None, by="a", why="", requested_at=NOW
    )
    rollout.handle(rollout_stack.sign(back), NOW)
    until(lambda: told == [2, 3], STALL_S, "the later record")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
