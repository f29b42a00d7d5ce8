"""A challenger against the live model: what is as good passes, and what is worse fails for the reason that is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import INDEX
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.training.dataset import Dataset, FloatArray, join
from models.training.evaluation import average_precision, evaluate
from models.training.gates.check import GateCheck
from models.training.gates.curves import curves, wilson
from models.training.gates.judge import Judgement, judge, seen_until, unseen
from models.training.gates.leaks import column_auc
from models.training.gates.resampling import Draws, Ranking
from models.training.gates.side import Contender
from tests.support.bundle_samples import trained
from tests.support.models_data import make_dataset

NOW = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = Policy(version="1", review=0.3, decline=0.8)


def rows(count: int = 6_000, **fields: list[str]) -> Dataset:
    """Rows of a later seed than the model's, with fields."""
    data = make_dataset(count, seed=8)
    rng = np.random.default_rng(4)
    columns = {
        "card_id": data.card.astype(str), "currency": rng.choice(["EUR", "JPY"], count), "country": rng.choice(["FR", "NG"], count),
        "channel": rng.choice(["pos", "ecom"], count), "tenant": np.full(count, "default"), **fields,
    }  # fmt: skip
    return dataclasses.replace(
        data, fields=pa.table({name: pa.array(found) for name, found in columns.items()})
    )


def model(version: str = "1.1.0", policy: Policy = POLICY, **more: object) -> Contender:
    return Contender(version=version, score=trained().score, policy=policy, auc_roc=0.9, bytes=1_000, **more)  # type: ignore[arg-type]


def with_scores(change: Callable[[FloatArray, FloatArray], FloatArray], **more: object) -> Contender:
    """The model with other scores: (scores, matrix) to scores."""
    return dataclasses.replace(
        model(**more),  # type: ignore[arg-type]
        score=lambda matrix: np.clip(change(trained().score(matrix), matrix), 0, 1).astype(np.float32),
    )


def found(judgement: Judgement, name: str) -> GateCheck:
    return next(check for check in judgement.checks if check.name == name)


def test_the_same_model_passes_every_gate() -> None:
    judgement = judge(model(), model("1.0.0"), rows(), now=NOW)
    assert judgement.verdict == "pass" and judgement.reasons == []
    # fraud grows with the amount here, so any model stops more of the large ones
    assert {check.name for check in judgement.checks if check.result != "pass"} <= {
        "fairness.false_alarms.amount", "fairness.recall.amount"
    }  # fmt: skip
    quality = found(judgement, "average_precision")
    assert (quality.estimate, quality.low, quality.high) == (0.0, 0.0, 0.0)
    assert judgement.whole_policy and judgement.comparison["changed"] == {}
    assert judgement.curves["candidate"].recall[-1] == 1.0 and "curves" not in judgement.summary()


def test_a_worse_ranking_is_proven_and_rejected() -> None:
    noise = np.random.default_rng(2).normal(0, 0.4, 1_000_000).astype(np.float32)
    worse = with_scores(lambda scores, _: scores + noise[: len(scores)])
    judgement = judge(worse, model("1.0.0"), rows(), now=NOW)
    quality = found(judgement, "average_precision")
    assert judgement.verdict == "fail" and quality.result == "fail"
    assert quality.high is not None and quality.high < 0
    assert any(reason.startswith("average_precision: ") for reason in judgement.reasons)


def test_a_better_model_passes() -> None:
    noise = np.random.default_rng(2).normal(0, 0.4, 1_000_000).astype(np.float32)
    worse = with_scores(lambda scores, _: scores + noise[: len(scores)], version="1.0.0")
    quality = found(judge(model(), worse, rows(), now=NOW), "average_precision")
    assert quality.result == "pass" and quality.low is not None and quality.low > 0


def test_money_is_compared_in_each_currency_and_never_added() -> None:
    """Frauds in yen are missed: the share of euros is what it was."""
    data = rows()
    yen = np.flatnonzero(np.array(data.fields["currency"].to_pylist()) == "JPY")  # type: ignore[index]
    amounts = set(data.amount_minor()[yen].tolist())

    def blind(scores: FloatArray, matrix: FloatArray) -> FloatArray:
        in_yen = np.isin(matrix[:, INDEX["amount"]], list(amounts))
        return np.where(in_yen, scores * 0.1, scores)

    judgement = judge(with_scores(blind), model("1.0.0"), data, now=NOW)
    assert found(judgement, "money_caught.JPY").result == "fail"
    assert found(judgement, "money_caught.EUR").estimate == 0.0
    caught = judgement.comparison["after"]["caught_minor"]
    assert set(caught) <= {"EUR", "JPY"} and set(judgement.comparison["before"]["caught_minor"]) == {
        "EUR",
        "JPY",
    }
    whole = evaluate(data, trained().score(data.matrix), POLICY)
    fraud = {
        name: int(data.amount_minor()[data.fraud & (data.currency() == name)].astype(float).sum().round())
        for name in ("EUR", "JPY")
    }
    for name, total in fraud.items():
        assert whole["fraud_caught_minor"][name] + whole["fraud_missed_minor"][name] == pytest.approx(
            total, abs=2
        )


def test_less_money_for_fewer_stopped_payments_is_for_a_person_to_judge_and_stopping_nothing_is_not() -> None:
    data = dataclasses.replace(rows(), fields=None)
    strict = dataclasses.replace(model(), policy=Policy(version="2", review=0.36, decline=0.8))
    traded = found(judge(strict, model("1.0.0"), data, now=NOW), "money_caught.unknown")
    assert traded.result == "inconclusive" and traded.high is not None and traded.high < 0
    assert "fewer payments" in traded.why
    nothing = dataclasses.replace(model(), policy=Policy(version="2", review=1.0, decline=1.0))
    assert found(judge(nothing, model("1.0.0"), data, now=NOW), "money_caught.unknown").result == "fail"


def test_more_false_alarms_for_more_stopped_frauds_are_for_a_person_to_judge_and_for_nothing_are_not() -> (
    None
):
    """In an attack a model that knows it stops more, also more honest payments; one that only stops more is no better."""
    data = dataclasses.replace(rows(), fields=None)
    noise = np.random.default_rng(2).normal(0, 0.15, 1_000_000).astype(np.float32)
    live = with_scores(lambda scores, _: scores + noise[: len(scores)], version="1.0.0")
    live = dataclasses.replace(live, policy=Policy(version="1", review=0.6, decline=0.9))
    strict = Policy(version="2", review=0.3, decline=0.8)
    traded = found(judge(dataclasses.replace(model(), policy=strict), live, data, now=NOW), "false_alarms")
    assert traded.result == "inconclusive" and "would have fewer false alarms" in traded.why, traded
    assert (
        traded.low is not None
        and traded.low > 1
        and traded.estimate is not None
        and 1.5 < traded.estimate <= 4
    )
    same = dataclasses.replace(live, version="1.1.0", policy=Policy(version="2", review=0.3, decline=0.8))
    assert found(judge(same, live, data, now=NOW), "false_alarms").result == "fail"
    everything = dataclasses.replace(model(), policy=Policy(version="2", review=0.0001, decline=0.8))
    assert found(judge(everything, live, data, now=NOW), "false_alarms").result == "fail"


def test_a_wrong_probability_fails_calibration_and_keeps_its_ranking() -> None:
    tenth = with_scores(lambda scores, _: scores / 10)
    judgement = judge(tenth, model("1.0.0"), rows(), now=NOW)
    assert found(judgement, "calibration").result == "fail"
    assert found(judgement, "average_precision").result == "pass"


@pytest.mark.parametrize(("dimension", "group"), [("country", "NG"), ("attributes.age_band", "old")])
def test_false_alarms_in_one_group_alone_are_unfair(dimension: str, group: str) -> None:
    """Of a country, or by a declared attribute that no model takes."""
    bands = np.random.default_rng(6).choice(["young", "old", None], 12_000)
    data = rows(12_000, **{"attributes.age_band": list(bands)})
    abroad = np.array(data.fields[dimension].to_pylist()) == group  # type: ignore[index]
    amounts = set(data.amount_minor()[abroad].tolist())
    strict = with_scores(
        lambda scores, matrix: np.where(
            np.isin(matrix[:, INDEX["amount"]], list(amounts)), scores + 0.25, scores
        )
    )
    judgement = judge(strict, model("1.0.0"), data, now=NOW, protected=["age_band"])
    gate = f"fairness.false_alarms.{dimension}"
    unfair = found(judgement, gate)
    assert unfair.result == "fail" and group in unfair.why and unfair.low is not None and unfair.low > 1.25
    groups = {(one.group, one.rate): one for one in judgement.groups if one.dimension == dimension}
    assert groups[group, "false_alarms"].ratio > 2 > groups[group, "false_alarms"].live_ratio
    # what the live model does too is for a person to judge
    both = judge(strict, dataclasses.replace(strict, version="1.0.0"), data, now=NOW, protected=["age_band"])
    assert both.verdict == "pass" and found(both, gate).result == "inconclusive"
    # an attribute that nobody named is no dimension
    others = {one.dimension for one in judge(strict, model("1.0.0"), data, now=NOW).groups}
    assert others == {"country", "channel", "card_age", "amount"}


def test_small_groups_are_hidden() -> None:
    data = rows()
    countries = np.array(data.fields["country"].to_pylist(), dtype=object)  # type: ignore[index]
    countries[:40] = "VA"
    data = dataclasses.replace(
        data, fields=pa.table({"country": pa.array(countries), "currency": data.fields["currency"]})  # type: ignore[index]
    )  # fmt: skip
    judgement = judge(model(), model("1.0.0"), data, now=NOW)
    assert "VA" not in str(judgement.summary()) and judgement.hidden_groups >= 2
    assert {group.group for group in judgement.groups if group.dimension == "country"} == {"FR", "NG"}


def test_the_whole_live_policy_decides() -> None:
    """A block list, a rule on a field and a tenant's thresholds of the live policy go with the new model."""
    data = rows()
    blocked = str(data.card[0])
    live = Policy(
        version="7", review=0.3, decline=0.8, rules=(Rule("abroad", "country = 'NG'", "review", "ann"),),
        lists=(PolicyList(name="stolen", kind="block", field="card_id", owner="ann", expires=datetime(2100, 1, 1, tzinfo=UTC), entries=(Entry(blocked),)),),
    )  # fmt: skip
    judgement = judge(model(), model("1.0.0", policy=live), data, now=NOW)
    before, after = judgement.comparison["before"], judgement.comparison["after"]
    assert before == after and judgement.comparison["changed"] == {}
    assert judgement.comparison["rules"]["abroad"]["matched"] > len(data) / 3
    assert judgement.comparison["rules"]["stolen"]["matched"] == int((data.card == blocked).sum())
    # without fields the same policy decides by score alone, and the judgement says so
    bare = judge(model(), model("1.0.0", policy=live), dataclasses.replace(data, fields=None), now=NOW)
    assert not bare.whole_policy and bare.comparison["rules"]["stolen"]["matched"] == 0


def test_a_rule_on_an_attribute_that_old_rows_lack_is_named_and_rejects_nothing() -> None:
    live = Policy(
        version="7",
        review=0.3,
        decline=0.8,
        rules=(Rule("gold", "attributes.tier = 'gold'", "review", "ann"),),
    )
    lacking = judge(model(), model("1.0.0", policy=live), rows(), now=NOW)
    assert lacking.verdict == "pass" and found(lacking, "policy").result == "inconclusive"
    assert "gold" in found(lacking, "policy").why
    with_tiers = rows(**{"attributes.tier": ["gold", "tin"] * 3_000})
    whole = judge(model(), model("1.0.0", policy=live), with_tiers, now=NOW)
    assert found(whole, "policy").result == "pass" and whole.comparison["rules"]["gold"]["matched"] == 3_000


def test_only_rows_that_neither_has_seen_count() -> None:
    data = rows()
    early, late = int(data.event_ms[3_000]), int(data.event_ms[4_500])
    part, since = unseen(data, model(seen_until_ms=early), model("1.0.0", seen_until_ms=late))
    assert since == late and (part.event_ms > late).all() and len(part) == int((data.event_ms > late).sum())
    assert (
        seen_until({"parts": {"train": {"to_ms": 5}, "calibrate": {"to_ms": 9}, "test": {"to_ms": 20}}}) == 9
    )
    assert seen_until({}) is None
    nothing = judge(model(seen_until_ms=int(data.event_ms[-1])), model("1.0.0"), data, now=NOW)
    assert nothing.verdict == "fail" and found(nothing, "average_precision").result == "too_few"
    assert "0 frauds that neither model has seen" in nothing.reasons[0]


def test_labels_drawn_by_lot_fail_though_both_models_are_as_bad_on_them() -> None:
    data = rows()
    flipped = np.random.default_rng(6).random(len(data)) < 0.05
    poisoned = dataclasses.replace(data, fraud=data.fraud ^ flipped)
    record = model("1.0.0")
    good = judge(model(), record, data, now=NOW)
    assert found(good, "ranking_of_record").result == "pass"
    # nearly all frauds of a rare class are then labels by lot
    rare = poisoned.take(~data.fraud | (np.arange(len(data)) % 8 == 0))
    assert found(judge(model(), record, rare, now=NOW), "ranking_of_record").result == "fail"


def test_a_column_that_knows_the_label_and_frauds_that_are_there_twice_are_found() -> None:
    data = rows()
    knowing = data.matrix.copy()
    knowing[:, INDEX["night"]] = np.where(data.fraud, 1.0, np.nan)
    leaking = judge(model(), None, dataclasses.replace(data, matrix=knowing), now=NOW)
    assert leaking.verdict == "fail" and "night alone tells frauds apart" in leaking.reasons[0]
    twice = judge(model(), None, join([data, data.take(data.fraud)]), now=NOW)
    assert [check.name for check in twice.checks if check.result == "fail"] == ["leak_repeated"]
    assert judge(model(), None, data, now=NOW).verdict == "pass"


def test_column_auc_points_either_way_and_reads_unknown_values() -> None:
    fraud = np.array([True, True, False, False])
    assert column_auc(np.array([1, 2, 3, 4], np.float32), fraud) == 1.0
    assert column_auc(np.array([np.nan, np.nan, 3, 4], np.float32), fraud) == 1.0
    assert column_auc(np.full(4, np.nan, np.float32), fraud) == 0.5


def test_a_slow_a_large_and_an_unsteady_model_fail() -> None:
    data = rows()
    took = iter(np.cumsum(np.tile([0.0, 0.030, 0.001, 0.002], 100)).tolist())
    slow = judge(model(), model("1.0.0"), data, now=NOW, clock=lambda: next(took))
    assert found(slow, "latency").result == "fail"
    assert found(slow, "latency").estimate == pytest.approx(30)
    large = judge(dataclasses.replace(model(), bytes=9_000_000), model("1.0.0"), data, now=NOW)
    assert found(large, "size").result == "fail"

    def unsteady(scores: FloatArray, matrix: FloatArray) -> FloatArray:
        amount = matrix[:, INDEX["amount"]]
        return np.where(np.modf(amount)[0] > 0.5, 0.9, 0.0)

    assert found(judge(with_scores(unsteady), model("1.0.0"), data, now=NOW), "stability").result == "fail"


def test_weighted_average_precision_is_that_of_repeated_rows() -> None:
    rng = np.random.default_rng(9)
    fraud, scores = rng.random(200) < 0.2, rng.integers(0, 12, 200).astype(np.float32) / 12
    weights = rng.integers(0, 4, 200)
    repeated = np.repeat(np.arange(200), weights)
    assert Ranking(fraud, scores).average_precision(weights) == pytest.approx(
        average_precision(fraud[repeated], scores[repeated])
    )


def test_a_card_is_drawn_with_all_its_rows() -> None:
    card = np.array(["a", "b", "a", "c", "b"], dtype=object)
    draws = Draws(card, draws=50)
    values = np.array([1.0, 10.0, 100.0, 0.0, 0.5])
    for draw, total in enumerate(draws.sums(values)):
        weights = draws.rows(draw)
        assert weights[0] == weights[2] and weights[1] == weights[4]
        assert total == pytest.approx(float(weights @ values))


def test_the_points_of_the_plots() -> None:
    fraud, scores = np.array([True, False, True, False]), np.array([0.9, 0.5, 0.4, 0.002], np.float32)
    points = curves(fraud, scores)
    assert points.recall == [0.5, 1.0] and points.precision == [1.0, 2 / 3]
    assert sum(found.n for found in points.reliability) == 4
    low, high = wilson(5, 10)
    assert low < 0.5 < high and wilson(0, 0) == (0.0, 1.0)
