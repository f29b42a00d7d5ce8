"""``tollgate decisions``: one decision whole, with the values behind it; the tail names rules and what was missing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from features.catalogue import NAMES, WIDTH
from features.transaction import Transaction
from models.bundle.content import Bundle, load_bundle
from models.decision import Decision
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.policy.thresholds import Threshold
from models.scoring.scorer import Scorer
from services.cli.decisions import decision_line
from services.cli.one_decision.explained import explained, explained_lines
from services.cli.one_decision.replayed import CannotReplay, replayed, replayed_lines, row_of
from services.cli.one_decision.shown import answer_of, bundle_of
from services.cli.one_decision.view import lines
from services.scoring.decision.decider import Case, Decider
from streams.audit.decided_payment import DecidedPayment, Served
from streams.runtime.settings import Settings
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
        "card_sum_1h": 300_000.0,
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
    text = "\n".join(lines(answer_of(found(degraded_by=["ip_features"], shadow={"2.0.0": 0.61}), bundle)))
    for part in (
        "tx-1: decline, scored, score 0.2500 (review from 0.0100, decline from 0.4000)",
        "because\n  on block list stolen (ops): chargebacks\n  4 payments of the card in the last hour  (+1.25 log-odds)\n",
        "missing\n  ip_features\n", "  arm: champion\n", "in the shadow\n  2.0.0 scores 0.6100\n", "dear (review): amount_minor > 1000 AND", "[amount_minor = 250000, card_count_1h = 4, features.channel = 2, score = 0.25]",
        "stolen (block)   [device_id = d-bad]", "  amount: 2,500.00 EUR\n", "  amount 250000 (2,500.00 EUR)\n", "features of the card\n  card_count_1h 4\n  card_sum_1h 300000 (3,000.00 if all was EUR)\n", "features of the ip: all unknown",
    ):  # fmt: skip
        assert part in text, (part, text)


def test_without_the_policy_and_the_features_the_rest_is_shown() -> None:
    answer = answer_of(found(served=False), None)
    assert [each["name"] for each in answer["matched"]] == ["dear", "stolen"]
    assert answer["thresholds"] is None and answer["features"] is None
    text = "\n".join(lines(answer))
    assert "neither the log of `features` nor the archive" in text and "dear (not in this version" in text


@pytest.mark.parametrize("version", ["none", "9.9.9"])
def test_a_decision_without_a_model_or_of_one_that_is_gone_is_shown(tmp_path: Path, version: str) -> None:
    bundle = bundle_of(Settings(home=str(tmp_path)), version)
    assert bundle is None
    assert answer_of(found(model_version=version), bundle)["decision"]["model_version"] == version


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
    other = decided(rules=[], reasons=[], arm="challenger", model_version="1.1.0")
    assert decision_line(msgspec.convert(other, Decision)).endswith("fraud 1.1.0 (challenger)")


def made(bundle: Bundle, **changes: Any) -> DecidedPayment:
    """What the stream decided of the payment, as its record says."""
    served = found().served
    assert served is not None
    case = Case(PAYMENT, PAYMENT.event_ms, 1_900_000_000_000, 1_900_000_060_000)
    decider = Decider(clock=lambda: 1_900_000_000.0)
    (original,) = decider.decide([case], row_of(served), Scorer(bundle, measure=False))
    decision = msgspec.json.decode(msgspec.json.encode(original), type=dict[str, Any])
    return DecidedPayment(decision | changes, "index", served)


def test_a_decision_is_made_again_bit_for_bit(bundle: Bundle) -> None:
    answer = replayed(made(bundle), bundle)
    assert (answer["identical"], answer["differences"], answer["left_out"]) == (True, [], [])
    assert answer["replayed"]["decision"] == "decline" and answer["replayed"]["rules"]
    assert replayed_lines(answer)[0].startswith("tx-1: identical: decline, score 0.")


def test_an_archived_decision_keeps_less_and_is_compared_on_that(bundle: Bundle) -> None:
    whole = made(bundle)
    kept = {
        name: value
        for name, value in whole.decision.items()
        if name not in ("received_at", "rules", "degraded_by")
    }
    assert replayed(dataclasses.replace(whole, decision=kept), bundle)["identical"]


@pytest.mark.parametrize(
    "changes",
    [{"score": 0.123457}, {"decision": "approve"}, {"rules": []}, {"reasons": [{"code": "X", "text": "made up", "contribution": 0.1}]}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_what_differs_is_named(bundle: Bundle, changes: dict[str, Any]) -> None:
    answer = replayed(made(bundle, **changes), bundle)
    (name,) = changes
    assert not answer["identical"] and [each["field"] for each in answer["differences"]] == [name]
    assert answer["differences"][0]["decided"] == changes[name]
    assert "NOT identical" in "\n".join(replayed_lines(answer))


def test_reasons_that_time_left_out_are_not_compared(bundle: Bundle) -> None:
    late = made(bundle, status="degraded", degraded_by=["explanations"], reasons=[])
    answer = replayed(late, bundle)
    assert (answer["identical"], answer["left_out"]) == (True, ["reasons"])


def test_todays_model_and_rules_may_decide_otherwise(bundle: Bundle) -> None:
    then = made(bundle, policy_version="11", model_version="0.9.0", decision="approve", rules=[])
    answer = replayed(then, bundle, today=True)
    assert (answer["today"], answer["model_version"], answer["replayed"]["decision"]) == (
        True,
        bundle.version,
        "decline",
    )
    assert {each["field"] for each in answer["differences"]} == {"decision", "rules", "policy_version"}


def test_what_is_gone_is_said(bundle: Bundle) -> None:
    whole = made(bundle)
    for gone, of, why in (
        (whole, None, "not in the registry"),
        (dataclasses.replace(whole, served=None), bundle, "gone from the log"),
        (made(bundle, policy_version="11"), bundle, "holds policy 12, not 11"),
    ):
        with pytest.raises(CannotReplay, match=why):
            replayed(gone, of)


def test_a_decision_is_explained_down_to_data_and_code(bundle: Bundle, tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    answer = explained(settings, made(bundle), bundle)
    assert answer["data"]["fingerprint"] == bundle.lineage.get("data_fingerprint")
    assert answer["code_version"] == bundle.lineage.get("code_version")
    # contributions and the model's bias are the score
    scorer = Scorer(bundle, measure=False)
    served = found().served
    assert served is not None
    shap = scorer.contributions(row_of(served))[0]
    moved = [abs(each["contribution"]) for each in answer["moved_by"]]
    assert moved == sorted(moved, reverse=True) and moved[0] == pytest.approx(
        float(np.abs(shap).max()), abs=1e-4
    )
    text = "\n".join(explained_lines(answer))
    assert f"model fraud {bundle.version}, policy 12" in text and "no training run is logged" in text
    assert explained(settings, found(served=False), bundle)["moved_by"] is None
