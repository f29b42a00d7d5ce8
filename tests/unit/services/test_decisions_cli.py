"""``tollgate decisions``: one decision whole, with the values behind it; the tail names rules and what was missing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from features.catalogue import NAMES, WIDTH
from features.transaction import Transaction
from models.bundle.content import Bundle, load_bundle
from models.decision import Decision
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.policy.thresholds import Threshold
from services.cli.decisions import decision_line
from services.cli.one_decision.command import answer_of
from services.cli.one_decision.view import lines
from streams.audit.decided_payment import DecidedPayment, Served
from tests.support.archive_samples import decision
from tests.support.bundle_samples import publish_sample

POLICY = Policy(
    version="12", review=0.02, decline=0.6,
    rules=(Rule("dear", "amount_minor > 1000 AND (card_count_1h >= 3 OR features.channel = 1) AND score > 0.1", "review", "ann", "dear for us"),),
    thresholds=(Threshold(channel="atm", review=0.01, decline=0.4),),
    lists=(PolicyList(name="stolen", kind="block", field="device_id", owner="ops", entries=(Entry("d-bad"),), reason="chargebacks",
                      expires=datetime(2100, 1, 1, tzinfo=UTC)),),
)  # fmt: skip
PAYMENT = Transaction(
    transaction_id="tx-1", event_time=datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC), card_id="card-1", merchant_id="m-9",
    amount_minor=250_000, currency="EUR", device_id="d-bad", channel="atm",
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    found = load_bundle(*publish_sample(tmp_path_factory.mktemp("bundle")))
    return dataclasses.replace(found, policy=POLICY)


def decided(**changes: Any) -> dict[str, Any]:
    reasons = [
        {"code": "LIST_STOLEN", "text": "on block list stolen (ops): chargebacks"},
        {"code": "CARD_COUNT_1H", "text": "4 payments of the card in the last hour", "contribution": 1.25},
    ]
    found = msgspec.to_builtins(decision(1))
    return found | {"decision": "decline", "policy_version": "12", "rules": ["dear", "stolen"], "reasons": reasons, **changes}  # fmt: skip


def found(served: bool = True, **changes: Any) -> DecidedPayment:
    values: dict[str, float | None] = dict.fromkeys(NAMES, None) | {
        "card_count_1h": 4.0,
        "channel": 2.0,
        "amount": 250_000.0,
    }
    fields = {name: value for name, value in msgspec.to_builtins(PAYMENT).items() if value is not None}
    return DecidedPayment(decided(**changes), "index", Served(fields, values, "log") if served else None)


def test_rules_and_lists_that_matched_stand_with_the_values_they_saw(bundle: Bundle) -> None:
    answer = answer_of(found(), bundle)
    assert [each["values"] for each in answer["matched"]] == [
        {"amount_minor": 250_000, "card_count_1h": 4.0, "features.channel": 2.0, "score": 0.25}, {"device_id": "d-bad"},
    ]  # fmt: skip
    assert answer["matched"][0]["when"] == POLICY.rules[0].when and answer["matched"][1]["kind"] == "block"
    # those of the payment's channel, in single precision as they are compared
    assert answer["thresholds"] == {"review": pytest.approx(0.01), "decline": pytest.approx(0.4)}
    assert answer["found_in"] == {"decision": "index", "features": "log"} and len(answer["features"]) == WIDTH


def test_the_text_says_why_and_on_what(bundle: Bundle) -> None:
    text = "\n".join(lines(answer_of(found(degraded_by=["ip_features"]), bundle)))
    for part in (
        "tx-1: decline, scored, score 0.2500 (review from 0.0100, decline from 0.4000)",
        "because\n  on block list stolen (ops): chargebacks\n  4 payments of the card in the last hour  (+1.25 log-odds)\n",
        "missing\n  ip_features\n", "dear (review): amount_minor > 1000 AND", "[amount_minor = 250000, card_count_1h = 4, features.channel = 2, score = 0.25]",
        "stolen (block)   [device_id = d-bad]", "amount minor: 250000", "features of the card\n  card_count_1h 4\n", "features of the ip: all unknown",
    ):  # fmt: skip
        assert part in text, (part, text)


def test_without_the_policy_and_the_features_the_rest_is_shown() -> None:
    answer = answer_of(found(served=False), None)
    assert [each["name"] for each in answer["matched"]] == ["dear", "stolen"]
    assert answer["thresholds"] is None and answer["features"] is None
    text = "\n".join(lines(answer))
    assert "neither the log of `features` nor the archive" in text and "dear (not in this version" in text


def test_a_bundle_of_another_policy_explains_nothing(bundle: Bundle) -> None:
    answer = answer_of(found(policy_version="11"), bundle)
    assert answer["thresholds"] is None and "when" not in answer["matched"][0]


def test_the_tail_names_what_decided_what_matched_and_what_was_missing() -> None:
    line = decision_line(
        msgspec.convert(decided(status="degraded", degraded_by=["ip_features", "explanations"]), Decision)
    )
    assert "decline  degraded" in line
    assert "on block list stolen (ops): chargebacks; 4 payments of the card in the last hour" in line
    assert line.endswith("[matched: dear, stolen]  [missing: ip_features, explanations]")
    assert decision_line(msgspec.convert(decided(rules=[], reasons=[]), Decision)).endswith("fraud 1.0.0")
