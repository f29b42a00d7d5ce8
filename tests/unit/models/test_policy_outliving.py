"""What people set outlives the model: what a candidate's policy lacks is named, and a new model goes on with all of it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from models.policy.lists import Entry, PolicyList
from models.policy.outliving import lost_parts, replaces
from models.policy.policy import TRAINER, Policy, Rule, parse_policy
from models.policy.policy_file import read_policy_file
from models.policy.thresholds import ExpectedLoss, Threshold

FAR = datetime(2100, 1, 1, tzinfo=UTC)
STOLEN = PolicyList(
    name="stolen", kind="block", field="card_id", owner="ann", expires=FAR, entries=(Entry("c-1"), Entry("c-2"))
)  # fmt: skip
LIVE = Policy(
    version="7", review=0.3, decline=0.8, thresholds_owner="analyst", without_score="decline", lists=(STOLEN,),
    rules=(Rule("abroad", "country <> 'FR'", "review", "ann"), Rule("over", "amount > 9", "review", TRAINER)),
    thresholds=(Threshold(channel="atm", review=0.1, decline=0.2),),
    expected_loss=ExpectedLoss(currency="EUR", review_cost_minor=100, lost_customer_minor=500),
)  # fmt: skip
TRAINED = Policy(
    version="8", review=0.4, decline=0.9, rules=(Rule("over", "amount > 11", "review", TRAINER),)
)


def test_every_part_that_would_be_lost_is_named() -> None:
    assert lost_parts(LIVE, TRAINED) == [
        "rule abroad of ann (missing)",
        "block list stolen of ann (missing, 2 entries lost)",
        "thresholds by tenant and channel",
        "expected loss",
        "the decision without a score",
        "the thresholds of analyst: review 0.3, decline 0.8",
    ]
    assert lost_parts(LIVE, LIVE) == lost_parts(TRAINED, LIVE) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rules": (Rule("abroad", "country = 'FR'", "review", "ann"),)}, "rule abroad of ann (another version)"),
        ({"lists": (msgspec.structs.replace(STOLEN, entries=STOLEN.entries[:1]),)}, "block list stolen of ann (another version, 1 entries lost)"),
        ({"decline": 0.85}, "the thresholds of analyst: review 0.3, decline 0.8"),
    ],
)  # fmt: skip
def test_one_changed_part_is_named_alone(change: dict[str, object], words: str) -> None:
    assert lost_parts(LIVE, msgspec.structs.replace(LIVE, **change)) == [words]


def test_a_new_model_with_the_live_parts_loses_nothing() -> None:
    rebased = TRAINED.with_parts_of(LIVE)
    assert lost_parts(LIVE, rebased) == []
    assert (rebased.version, rebased.review, rebased.decline) == ("8", 0.3, 0.8)
    # the trainer's rule is the new one's
    assert [rule.when for rule in rebased.rules] == ["amount > 11", "country <> 'FR'"]
    # thresholds that no person set are the new model's
    trainers = msgspec.structs.replace(LIVE, thresholds_owner=TRAINER)
    assert (
        TRAINED.with_parts_of(trainers).review == 0.4
        and lost_parts(trainers, TRAINED.with_parts_of(trainers)) == []
    )


def test_a_persons_own_change_of_the_live_policy_loses_nothing_by_mistake() -> None:
    assert replaces({"policy": {"policy_before": "7"}}, LIVE)
    # made from an older policy, or trained
    assert not replaces({"policy": {"policy_before": "6"}}, LIVE) and not replaces({}, LIVE)


def test_thresholds_of_a_file_are_a_persons_and_older_policies_have_the_trainers() -> None:
    def applied(text: str) -> Policy:
        return read_policy_file(text, is_json=False, beside=lambda _name: "").file.applied_to(TRAINED, "9")

    assert applied("[thresholds]\nreview = 0.2\ndecline = 0.7\n").thresholds_owner == "analyst"
    # no thresholds, or those that are live
    assert applied("").thresholds_owner == TRAINER
    assert applied("[thresholds]\nreview = 0.4\ndecline = 0.9\n").thresholds_owner == TRAINER
    assert parse_policy(b'{"version": "1", "review": 0.1, "decline": 0.2}').thresholds_owner == TRAINER
