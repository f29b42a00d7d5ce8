"""The policy decides on columns; silence is never approval, a rule is only ever stricter, bad policies are refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from features.catalogue import INDEX, WIDTH
from models.policy.lists import Entry, PolicyList
from models.policy.policy import FALLBACK, TRAINER, Policy, PolicyError, Rule, parse_policy
from models.policy.rules.columns import TableColumns
from models.policy.thresholds import Threshold

POLICY = Policy(
    version="12", review=0.3, decline=0.8,
    rules=(
        Rule("amount-over-limit", "amount > 100000", "review", "fraud-ops"),
        Rule("fast-and-suspect", "card_speed_kmh >= 900 AND score >= 0.2", "decline", "fraud-ops"),
    ),
)  # fmt: skip


def rows(count: int, **values: list[float]) -> np.ndarray:
    matrix = np.full((count, WIDTH), np.nan, np.float32)
    for name, column in values.items():
        matrix[:, INDEX[name]] = column
    return matrix


def test_thresholds_are_inclusive_at_float32() -> None:
    scores = np.array([0.0, 0.29999, 0.3, 0.79999, 0.8, 1.0], np.float32)
    codes, rules = POLICY.decide(scores)
    assert codes.tolist() == [0, 0, 1, 1, 2, 2]
    assert codes.dtype == np.int8
    assert rules == [[]] * 6


def test_rules_raise_a_decision_and_never_lower_it() -> None:
    matrix = rows(4, amount=[5, 200_000, 200_000, 5], card_speed_kmh=[1000, 0, 0, 1000])
    codes, rules = POLICY.decide(np.array([0.1, 0.1, 0.9, 0.25], np.float32), matrix)
    assert codes.tolist() == [0, 1, 2, 2]
    assert rules == [[], ["amount-over-limit"], ["amount-over-limit"], ["fast-and-suspect"]]


def test_unknown_values_match_no_rule() -> None:
    codes, rules = POLICY.decide(np.array([0.25], np.float32), rows(1))
    assert (codes.tolist(), rules) == ([0], [[]])


def test_without_a_score_a_person_looks() -> None:
    assert POLICY.decide(np.array([np.nan], np.float32))[0].tolist() == [1]
    fields = TableColumns({"amount_minor": [10, 10_000_000]})
    codes, rules = FALLBACK.decide(np.full(2, np.nan, np.float32), rows(2), fields)
    assert codes.tolist() == [1, 1]
    assert rules == [[], ["amount-over-limit"]]


def test_no_rows_no_decisions() -> None:
    codes, rules = POLICY.decide(np.empty(0, np.float32), rows(0))
    assert len(codes) == 0 and rules == []


def test_json_there_and_back() -> None:
    assert parse_policy(POLICY.to_json()) == POLICY


@pytest.mark.parametrize(
    "change",
    [
        {"review": 0.9},
        {"decline": 1.5},
        {"surprise": 1},
        {"rules": [{"name": "r", "feature": "amount", "op": ">", "value": 1, "decision": "review"}]},
        {"rules": [{"name": "r", "when": "no_such > 1", "action": "review", "owner": "a"}]},
        {"rules": [{"name": "r", "when": "amount > 1", "action": "review", "owner": "a"}] * 2},
        {"rules": [{"name": "r", "when": "amount > 1", "action": "approve", "owner": "a"}]},
        {"rules": [{"name": "r", "when": "amount > 1", "action": "review"}]},
        {"rules": [{"name": "R 1", "when": "amount > 1", "action": "review", "owner": "a"}]},
        {"thresholds": [{"review": 0.9, "decline": 0.1, "tenant": "t"}]},
        {"thresholds": [{"review": 0.1, "decline": 0.2}]},
        {"thresholds": [{"review": 0.1, "decline": 0.2, "channel": "web"}]},
        {"thresholds": [{"review": 0.1, "decline": 0.2, "tenant": "t"}] * 2},
        {"without_score": "approve"},
    ],
)
def test_what_cannot_be_carried_out_is_refused(change: dict) -> None:
    raw = msgspec.json.decode(POLICY.to_json()) | change
    with pytest.raises(PolicyError):
        parse_policy(msgspec.json.encode(raw))


def test_a_new_model_keeps_what_people_gave_the_policy() -> None:
    people = Policy(
        version="3", review=0.5, decline=0.9, without_score="decline", thresholds=(Threshold(tenant="a", review=0.1, decline=0.2),),
        rules=(Rule("mine", "amount > 5", "review", "ann"), Rule("old", "amount > 9", "review", TRAINER)),
        lists=(PolicyList(name="watched", kind="watch", field="card_id", owner="ann", entries=(Entry("c-1"),)),),
    )  # fmt: skip
    trained = Policy(
        version="4", review=0.3, decline=0.8,
        rules=(Rule("mine", "amount > 7", "review", TRAINER), Rule("new", "amount > 8", "review", TRAINER)),
    )  # fmt: skip
    both = trained.with_parts_of(people)
    assert [(rule.name, rule.when) for rule in both.rules] == [("new", "amount > 8"), ("mine", "amount > 5")]
    assert (both.version, both.review, both.decline) == ("4", 0.3, 0.8)
    assert (both.lists, both.thresholds, both.without_score) == (people.lists, people.thresholds, "decline")
