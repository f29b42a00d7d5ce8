"""A decision says first what decided: a list, then rules, then the score, if it alone would have decided the same."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from features.catalogue import INDEX, WIDTH
from features.transaction import Transaction
from models.bundle.content import load_bundle
from models.decision import Decision
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.scoring.scorer import Scorer
from services.scoring.decision.decider import Case, Decider
from streams.contracts.text.json_encoding import encode
from tests.support.bundle_samples import publish_sample

END = datetime(2100, 1, 1, tzinfo=UTC)
NOW_MS = 1_790_000_000_000


def listed(kind: Any, field: Any, *entries: Entry, reason: str = "") -> PolicyList:
    return PolicyList(
        name=f"{kind}-{field.replace('_', '-')}", kind=kind, field=field, owner="fraud-ops", entries=entries, expires=END, reason=reason,
    )  # fmt: skip


POLICY = Policy(
    version="1", review=0.0, decline=1.0,
    rules=(
        Rule("seen", "amount_minor > 10", "observe", "ann", "not a reason"),
        Rule("dear", "amount_minor > 1000", "review", "ann", "dear for us"),
        Rule("very-dear", "amount_minor > 5000", "decline", "ann"),
    ),
    lists=(
        listed("block", "device_id", Entry("d-bad", reason="three chargebacks"), Entry("d-other", owner="eve"), reason="stolen"),
        listed("block", "ip", Entry("203.0.113.0/24", reason="hosting"), Entry("2001:db8::/32"), reason="bad net"),
        listed("allow", "card_id", Entry("c-vip")),
        listed("watch", "merchant_id", Entry("m-new"), reason="new shop"),
    ),
)  # fmt: skip


class Fixed(Scorer):
    """A scorer that gives every row the same score."""

    value = 0.5

    def score(self, matrix: Any) -> Any:
        return np.full(len(matrix), self.value, np.float32)


#: everything is looked at
PLAIN = Policy(version="1", review=0.0, decline=1.0)


class Explained(Fixed):
    """As above; the amount pushes each row most, then what the card spent in an hour."""

    def _contributions(self, matrix: Any) -> Any:
        shap = np.zeros((len(matrix), WIDTH), np.float32)
        shap[:, INDEX["amount"]], shap[:, INDEX["card_sum_1h"]] = 2.0, 1.0
        return shap


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Fixed:
    bundle = load_bundle(*publish_sample(tmp_path_factory.mktemp("bundle")))
    return Fixed(dataclasses.replace(bundle, policy=POLICY), measure=False)


def decide(scorer: Scorer | None, score: float = 0.5, known: bool = True, **fields: Any) -> Decision:
    if isinstance(scorer, Fixed):
        scorer.value = score
    given: dict[str, Any] = {
        "transaction_id": "t", "event_time": datetime(2026, 9, 21, tzinfo=UTC), "card_id": "c", "merchant_id": "m",
        "amount_minor": 5, "currency": "EUR",
    }  # fmt: skip
    transaction = Transaction(**given | fields)
    matrix = np.full((1, WIDTH), 0.0 if known else np.nan, np.float32)
    matrix[0, INDEX["amount"]] = transaction.amount_minor
    case = Case(transaction, NOW_MS, NOW_MS, 0)
    (decision,) = Decider(clock=lambda: NOW_MS / 1000).decide([case], matrix, scorer)
    return decision


def test_money_has_the_currency_of_each_payment(scorer: Fixed) -> None:
    rows = Explained(dataclasses.replace(scorer.bundle, policy=PLAIN), measure=False)
    paid = [(1_299, "EUR"), (1_299, "JPY"), (1_299, "KWD"), (1_299, "XBT")]
    cases = [
        Case(
            Transaction(
                transaction_id=f"t{n}", event_time=datetime(2026, 9, 21, tzinfo=UTC), card_id="c", merchant_id="m",
                amount_minor=amount, currency=currency,
            ), NOW_MS, NOW_MS, 60_000,
        )
        for n, (amount, currency) in enumerate(paid)
    ]  # fmt: skip
    matrix = np.zeros((len(cases), WIDTH), np.float32)
    matrix[:, INDEX["amount"]], matrix[:, INDEX["card_sum_1h"]] = 1_299, 271_629
    decisions = Decider(clock=lambda: NOW_MS / 1000).decide(cases, matrix, rows)
    assert [[reason.text for reason in decision.reasons] for decision in decisions] == [
        ["amount 12.99 EUR", "2,716.29 spent by the card in the last hour, all taken as EUR"],
        ["amount 1,299 JPY", "271,629 spent by the card in the last hour, all taken as JPY"],
        ["amount 1.299 KWD", "271.629 spent by the card in the last hour, all taken as KWD"],
        [
            "amount 1,299 minor units of XBT",
            "271,629 minor units spent by the card in the last hour, all taken as XBT",
        ],
    ]


def said(decision: Decision) -> list[tuple[str, str]]:
    return [(reason.code, reason.text) for reason in decision.reasons if reason.contribution is None]


BAD_DEVICE = ("LIST_BLOCK_DEVICE_ID", "on block list block-device-id (fraud-ops): three chargebacks")


@pytest.mark.parametrize(
    ("fields", "decision", "reasons"),
    [
        ({"device_id": "d-bad"}, "decline", [BAD_DEVICE]),
        ({"device_id": "d-other"}, "decline", [("LIST_BLOCK_DEVICE_ID", "on block list block-device-id (eve): stolen")]),
        ({"ip": "203.0.113.9"}, "decline", [("LIST_BLOCK_IP", "on block list block-ip (fraud-ops): hosting")]),
        ({"ip": "2001:db8::1"}, "decline", [("LIST_BLOCK_IP", "on block list block-ip (fraud-ops): bad net")]),
        ({"ip": "::ffff:203.0.113.9"}, "decline", [("LIST_BLOCK_IP", "on block list block-ip (fraud-ops): hosting")]),
        ({"card_id": "c-vip", "amount_minor": 6000}, "approve", [("LIST_ALLOW_CARD_ID", "on allow list allow-card-id (fraud-ops)")]),
        ({"card_id": "c-vip", "device_id": "d-bad"}, "decline", [BAD_DEVICE]),
        ({"amount_minor": 2000}, "review", [("RULE_DEAR", "rule dear (ann): dear for us")]),
        ({"amount_minor": 20}, "review", []),
        # the stricter rule first
        ({"amount_minor": 6000}, "decline", [("RULE_VERY_DEAR", "rule very-dear (ann)"), ("RULE_DEAR", "rule dear (ann): dear for us")]),
        ({"merchant_id": "m-new", "amount_minor": 6000}, "decline", [
            ("RULE_VERY_DEAR", "rule very-dear (ann)"), ("RULE_DEAR", "rule dear (ann): dear for us"),
            ("LIST_WATCH_MERCHANT_ID", "on watch list watch-merchant-id (fraud-ops): new shop"),
        ]),
        ({"device_id": "d-bad", "amount_minor": 2000}, "decline", [BAD_DEVICE, ("RULE_DEAR", "rule dear (ann): dear for us")]),
    ],
)  # fmt: skip
def test_what_decided_comes_first(
    scorer: Fixed, fields: dict[str, Any], decision: str, reasons: list[tuple[str, str]]
) -> None:
    found = decide(scorer, **fields)
    assert (found.decision, said(found)) == (decision, reasons)
    codes = [reason.contribution is None for reason in found.reasons]
    assert codes == sorted(codes, reverse=True), "a reason of the score stands before one that decided"
    # a score that alone would only have reviewed gives no reasons for a decline
    assert (len(found.reasons) > len(reasons)) == (decision == "review")
    assert found.status == "scored"


def test_a_score_that_would_decline_too_has_its_part(scorer: Fixed) -> None:
    found = decide(scorer, score=1.0, device_id="d-bad")
    assert said(found) == [BAD_DEVICE] and len(found.reasons) > 1
    assert found.reasons[0].code == BAD_DEVICE[0]


def test_a_reason_that_is_no_features_has_no_contribution(scorer: Fixed) -> None:
    written = msgspec.json.decode(encode(decide(scorer, device_id="d-bad")))
    assert written["reasons"] == [{"code": BAD_DEVICE[0], "text": BAD_DEVICE[1]}]
    assert written["rules"] == ["block-device-id"]


def test_without_a_score_it_says_so(scorer: Fixed) -> None:
    found = decide(scorer, score=float("nan"))
    assert said(found) == [("NO_SCORE", "no score (model_failed): the policy then says review")]
    found = decide(None, amount_minor=600_000)
    assert (found.status, found.decision) == ("not_scored", "review")
    assert [code for code, _ in said(found)] == ["RULE_AMOUNT_OVER_LIMIT", "NO_SCORE"]
    # approved by a person, with or without a score
    assert [code for code, _ in said(decide(scorer, score=float("nan"), card_id="c-vip"))] == [
        "LIST_ALLOW_CARD_ID"
    ]


def test_what_is_unknown_is_no_reason(scorer: Fixed) -> None:
    found = decide(scorer, known=False, amount_minor=20)
    assert found.decision == "review"
    assert not any("not known" in reason.text for reason in found.reasons)
    known = {"AMOUNT"} | {f"{entity}_UNKNOWN" for entity in ("TRANSACTION", "CARD", "CUSTOMER", "MERCHANT", "DEVICE", "IP")}  # fmt: skip
    assert {reason.code for reason in found.reasons} <= known
