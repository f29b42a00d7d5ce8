"""Models on attributes of one's own: what they gain, what travels in the bundle, and what scoring and reasons make of it."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from features.attributes import Attribute, Attributes
from features.transaction import Transaction, from_ms
from models.bundle.attribute_columns import SentAttributes
from models.bundle.content import BundleRefused, check_declared, load_bundle, publish
from models.bundle.signing import ensure_keys
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.scoring.scorer import Scorer
from models.training.dataset import Dataset
from models.training.evaluation import average_precision
from models.training.gates.judge import judge
from models.training.training import Trained, bundle_content, fit, margins, train
from services.scoring.decision.decider import Case, Decider
from services.trainer.learning import contender
from tests.support.bundle_samples import CREATED, QUICK
from tests.support.models_data import make_dataset

DECLARED = Attributes(
    {
        "tier": Attribute("text", meaning="tier in the loyalty programme"), "items": Attribute("number", unit="articles", meaning="size of the basket"),
        "unsent": Attribute("number"),
    }
)  # fmt: skip
TIERS = ["gold", "silver", "basic", "new"]
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@cache
def data() -> Dataset:
    """Of a fifth of the rows nothing is known; otherwise tier and size of the basket say much about fraud."""
    plain = make_dataset(rows=8_000, days=60)
    rng = np.random.default_rng(5)
    n = len(plain)
    tier, items = rng.integers(0, 4, n), rng.gamma(2.0, 4.0, n).round(1)
    fraud = plain.fraud | (rng.random(n) < np.where((tier == 3) & (items > 12), 0.6, 0.0))
    known = rng.random(n) > 0.2
    fields = pa.table(
        {
            "card_id": pa.array(plain.card.astype(str)), "currency": pa.array(["EUR"] * n),
            "attributes.tier": pa.array([TIERS[t] if there else None for t, there in zip(tier, known, strict=True)]),
            "attributes.items": pa.array(items, mask=~known),
        }
    )  # fmt: skip
    return dataclasses.replace(plain, fraud=fraud, fields=fields)


@cache
def trained() -> Trained:
    return train(data(), QUICK, policy_version="1", attributes=DECLARED)


def published(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    content = bundle_content(trained(), created_at=CREATED.isoformat(), code_version="test", extra={})
    return publish(
        content, tmp_path / "bundles", tmp_path / "keys", model="fraud", version="1.0.0", created_at=CREATED
    )


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    return Scorer(load_bundle(published(tmp_path), tmp_path / "keys" / "trusted"), measure=False)


def test_informative_attributes_raise_the_average_precision() -> None:
    oldest, _, newest = data().split(0.7, 0.15)
    without = average_precision(newest.fraud, margins(fit(oldest, QUICK), newest.matrix))
    found = trained().evaluation["average_precision"]
    assert without is not None and found > without + 0.1
    assert trained().attributes.names == ("attributes.tier", "attributes.items")


def test_the_bundle_holds_all_that_scoring_needs(tmp_path: Path, scorer: Scorer) -> None:
    path = tmp_path / "bundles" / "fraud" / "1.0.0"
    manifest = json.loads((path / "manifest.json").read_bytes())
    assert (
        manifest["feature_names"][-2:] == ["attributes.tier", "attributes.items"]
        and "attributes.json" in manifest["files"]
    )
    rows = data().take(np.arange(7_000, 7_200))
    taken = scorer.with_attributes(rows.matrix, rows.given())
    again = trained()
    expected = again.score(np.hstack([rows.matrix, again.attributes.block(len(rows), rows.given())]))
    np.testing.assert_allclose(scorer.score(taken), expected, atol=1e-5)
    # rows of which nothing is known
    assert scorer.score(rows.matrix).shape == (200,)
    # the reference that drift is tested against has the columns too
    assert scorer.bundle.reference.names[-2:] == ("attributes.tier", "attributes.items")
    changed = path / "attributes.json"
    changed.write_bytes(changed.read_bytes().replace(b'"gold"', b'"gild"'))
    with pytest.raises(BundleRefused, match=r"attributes.json is not the file that was signed"):
        load_bundle(path, tmp_path / "keys" / "trusted")


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (DECLARED, None), (Attributes(), r"attributes.tier \(text\), attributes.items \(number\)"),
        (Attributes({**DECLARED.declared, "tier": Attribute("number")}), r"attributes.tier \(text, declared a number\)"),
    ],
)  # fmt: skip
def test_a_bundle_whose_attributes_are_not_declared_is_refused(
    scorer: Scorer, declared: Attributes, why: str | None
) -> None:
    bundle = scorer.bundle
    if why is None:
        check_declared(bundle.path, bundle.attributes, declared)
        return
    with pytest.raises(BundleRefused, match=why) as refused:
        check_declared(bundle.path, bundle.attributes, declared)
    assert refused.value.reason == "attributes" and "declare them again" in str(refused.value)


def case(number: int, attributes: Any) -> Case:
    tx = Transaction(
        transaction_id=f"tx-{number}", event_time=from_ms(1_795_000_000_000), card_id="c", merchant_id="m", amount_minor=900, currency="EUR",
        attributes=attributes,
    )  # fmt: skip
    return Case(tx, tx.event_ms, int(NOW.timestamp() * 1000), 60_000)


def test_decisions_are_made_with_them_and_reasons_name_them(scorer: Scorer) -> None:
    stolen = PolicyList(
        name="tiers", kind="block", field="attributes.tier", owner="ann", expires=datetime(2100, 1, 1, tzinfo=UTC), entries=(Entry("black"),)
    )  # fmt: skip
    scorer.policy = Policy(
        version="1", review=0.0, decline=0.999, lists=(stolen,), rules=(Rule("large", "attributes.items > 100", "decline", "ann", "too many"),)
    )  # fmt: skip
    row = data().matrix[7_000:7_001]
    sent: list[Any] = [
        {"tier": "new", "items": 20}, {"tier": "gold", "items": 1.5}, msgspec.UNSET, {"tier": "black", "items": 1}, {"tier": "gold", "items": 101},
    ]  # fmt: skip
    cases = [case(n, each) for n, each in enumerate(sent)]
    decisions = Decider(clock=NOW.timestamp).decide(cases, np.repeat(row, len(cases), axis=0), scorer)
    scores = [decision.score for decision in decisions]
    assert all(decision.status == "scored" for decision in decisions)
    assert scores[0] is not None and scores[0] > 3 * max(score for score in scores[1:3] if score is not None)
    texts = [reason.text for reason in decisions[0].reasons]
    assert "tier in the loyalty programme: new" in texts or "size of the basket: 20 articles" in texts
    assert any(reason.code.startswith("ATTRIBUTE_") for reason in decisions[0].reasons)
    assert decisions[3].decision == "decline" and decisions[3].reasons[0].text == "on block list tiers (ann)"
    assert decisions[4].decision == "decline" and decisions[4].rules == ["large"]


def test_a_text_that_training_did_not_know_is_scored(scorer: Scorer) -> None:
    row = data().matrix[7_000:7_001]
    known, unknown = (
        scorer.with_attributes(row, SentAttributes([{"tier": tier, "items": 20}]))
        for tier in ("new", "platinum")
    )
    assert scorer.score(known)[0] > scorer.score(unknown)[0]


def test_gates_compare_a_model_with_attributes_with_one_without(scorer: Scorer, tmp_path: Path) -> None:
    plain = train(dataclasses.replace(data(), fields=None), QUICK, policy_version="1")
    ensure_keys(tmp_path / "keys")
    content = bundle_content(plain, created_at=CREATED.isoformat(), code_version="test", extra={})
    path = publish(
        content, tmp_path / "bundles", tmp_path / "keys", model="fraud", version="1.1.0", created_at=CREATED
    )
    live = Scorer(load_bundle(path, tmp_path / "keys" / "trusted"), measure=False)
    judgement = judge(contender(scorer), contender(live), data(), now=NOW)
    (check,) = [check for check in judgement.checks if check.name == "average_precision"]
    assert check.result == "pass"
