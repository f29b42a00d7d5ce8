"""Exploration in decisions: who is let through, what the decision says, and what becomes of it in the archive and in training."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalogue import NAMES
from models.decision import Decision
from models.policy.exploration import DAY_MS, REASON, ExplorationTerms, Explorer
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.scoring.scorer import Scorer
from models.training.archived import from_archive
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.decision.decider import Decider
from services.scoring.decision.exploring import explorer_of
from services.scoring.model.serving import Serving
from streams.archive.tables import DECISION_SCHEMA, decision_table
from streams.contracts.decision import decode_decision
from streams.contracts.text.json_encoding import encode
from streams.runtime.metrics import EXPLORED
from streams.runtime.settings import Settings
from tests.support.archive_samples import START_MS, Record
from tests.support.metric_values import total
from tests.support.two_arms import CARDS, CASES, MATRIX, SALT, at, challenger, champion

TERMS = ExplorationTerms(share=0.5, cap_minor_per_day={"EUR": 10**9})


def explorer(draw: Any = lambda: 0.0) -> Explorer:
    """Of a day that has been going on for long."""
    return Explorer(TERMS, START_MS - DAY_MS, draw=draw)


def stern(**parts: Any) -> Scorer:
    """The champion with a policy that declines about a tenth of the rows."""
    scorer = champion()
    limit = float(np.quantile(scorer.score(MATRIX), 0.9))
    scorer.policy = Policy(version="1", review=limit, decline=limit, **parts)
    return scorer


def decide(scorer: Scorer, found: Explorer | None) -> list[Decision]:
    return Decider(clock=lambda: START_MS / 1000, explorer=found).decide(CASES, MATRIX, scorer)


def test_off_nothing_changes_not_a_byte() -> None:
    plain = decide(stern(), None)
    assert sum(one.decision == "decline" for one in plain) > 10
    assert not any(b"exploration" in encode(one) for one in plain)
    assert explorer_of(Settings(home="/tmp/none"), 0.0) is None
    assert isinstance(explorer_of(Settings(home="/tmp/none", exploration=TERMS), 0.0), Explorer)


def test_a_would_be_decline_is_let_through_and_says_so() -> None:
    plain, before = decide(stern(), None), total(EXPLORED, result="let through")
    found = decide(stern(), explorer())
    declined = [row for row, one in enumerate(plain) if one.decision == "decline"]
    for row, (was, now) in enumerate(zip(plain, found, strict=True)):
        if row not in declined:
            assert now == was
            continue
        assert (now.decision, now.status, now.score) == ("review", was.status, was.score)
        assert [reason.code for reason in now.reasons] == [REASON, *(reason.code for reason in was.reasons)]
        said = msgspec.json.decode(encode(now))
        assert said["exploration"] == {"would_be": "decline", "propensity": 0.5}
        assert decode_decision(encode(now)) == now
    assert total(EXPLORED, result="let through") == before + len(declined)


def test_the_draw_that_leaves_it_declined_is_in_the_decision_too() -> None:
    plain, found = decide(stern(), None), decide(stern(), explorer(lambda: 0.9))
    assert [one.decision for one in found] == [one.decision for one in plain]
    for was, now in zip(plain, found, strict=True):
        assert (now.exploration is not msgspec.UNSET) == (was.decision == "decline")
        assert now.reasons == was.reasons


def test_what_a_person_stops_stays_stopped() -> None:
    until = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=1)
    limit = stern().policy.decline
    parts: dict[str, Any] = {
        "rules": (Rule("dear", "amount_minor > 250", "decline", "ops"), Rule("odd", f"score > {limit}", "review", "ops")),
        "lists": (
            PolicyList(name="stolen", kind="block", field="card_id", owner="ops", expires=until, entries=(Entry(CARDS[0]),)),
        ),
    }  # fmt: skip
    found = decide(stern(**parts), explorer())
    let_through = 0
    for case, one in zip(CASES, found, strict=True):
        stopped = case.transaction.amount_minor > 250 or case.transaction.card_id == CARDS[0]
        assert not stopped or (one.decision == "decline" and one.exploration is msgspec.UNSET)
        let_through += one.decision == "review" and one.exploration is not msgspec.UNSET
    # a rule that only sends to review changes nothing
    assert let_through > 3 and any(
        "odd" in one.rules for one in found if one.exploration is not msgspec.UNSET
    )


def test_both_arms_draw_from_one_purse() -> None:
    old, new = stern(), challenger()
    new.policy = old.policy
    sums = []
    for amount in (10**9, 3_000):
        terms = ExplorationTerms(share=0.5, cap_minor_per_day={"EUR": amount})
        one = Decider(
            clock=lambda: START_MS / 1000, explorer=Explorer(terms, START_MS - DAY_MS, draw=lambda: 0.0)
        )
        decisions = ArmsDecider(one).decide(CASES, MATRIX, Serving(old, at(0.5, new)))
        passed = [
            (one.arm, case.transaction.amount_minor)
            for case, one in zip(CASES, decisions, strict=True)
            if one.exploration is not msgspec.UNSET and one.decision == "review"
        ]
        assert {arm for arm, _ in passed} == {"champion", "challenger"} or amount == 3_000, SALT
        sums.append(sum(amount for _, amount in passed))
    assert sums[0] > 3_000 >= sums[1] > 0


def archived(folder: Path, decisions: list[Decision]) -> None:
    records = [Record("decisions", 0, number, START_MS, encode(one)) for number, one in enumerate(decisions)]
    table = decision_table(records, lambda record, why: pytest.fail(why))
    assert table.schema == DECISION_SCHEMA
    place = folder / "decisions" / "date=2026-11-18"
    place.mkdir(parents=True)
    pq.write_table(table, place / "a.parquet")


def test_training_weighs_the_ones_let_through_for_all_that_were_drawn(tmp_path: Path) -> None:
    draws = iter([0.1, 0.9] * len(CASES))
    decisions = decide(stern(), explorer(lambda: next(draws)))
    archived(tmp_path, decisions)
    event_ms = [START_MS + row for row in range(len(CASES))]
    young = START_MS + 30 * DAY_MS
    ms = pa.timestamp("ms", tz="UTC")
    features = {
        "transaction_id": [*(one.transaction_id for one in decisions), "young"],
        "tenant": ["default"] * (len(decisions) + 1),
        "card_id": [*CARDS, "c"],
        "event_timestamp": pa.array([*event_ms, young], ms),
        **{name: pa.array(np.ones(len(decisions) + 1, np.float32)) for name in NAMES},
    }
    # the ones that were let through, and one that stayed declined, were reported
    drawn = [one for one in decisions if one.exploration is not msgspec.UNSET]
    passed = [one for one in drawn if one.decision == "review"]
    kept_out = next(one for one in drawn if one.decision == "decline")
    told = [*passed[:3], kept_out]
    outcomes = {
        "transaction_id": [one.transaction_id for one in told], "tenant": ["default"] * 4, "label": ["fraud"] * 4,
        "label_time": pa.array([START_MS + DAY_MS] * 4, ms),
    }  # fmt: skip
    for name, columns in (("features", features), ("outcomes", outcomes)):
        place = tmp_path / name / "date=2026-11-18"
        place.mkdir(parents=True)
        pq.write_table(pa.table(columns), place / "a.parquet")
    data = from_archive(tmp_path)
    assert data is not None and data.weight is not None
    assert len(passed) > 3 and len(data) == len(decisions) - (len(drawn) - len(passed))
    assert data.frauds == 3 and data.labels.counts()["censored"] == len(drawn) - len(passed)
    assert sorted(set(data.weight.tolist())) == [1.0, 2.0] and (data.weight == 2).sum() == len(passed)
    assert data.account()["explored"] == {"rows": len(passed), "stand_for": 2 * len(passed)}
    json.dumps(data.account())
