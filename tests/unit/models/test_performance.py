"""Live performance against plain counting; intervals that hold; a drop of 6 % is told of, one of 4 % is not."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from models.performance.decided import DecidedRows
from models.performance.drop import drops
from models.performance.figures import MAX_GROUPS, OTHERS, figures, performance
from models.performance.ratio import odds_against, ratio, share
from models.training.dataset import DAY_MS
from models.training.label_states import LabelState


def rows(count: int, seed: int = 1, **columns: object) -> DecidedRows:
    rng = np.random.default_rng(seed)
    found = {
        "event_ms": np.sort(rng.integers(0, 35 * DAY_MS, count)), "card": rng.integers(0, count // 3 + 1, count).astype(str).astype(object),
        "code": rng.integers(0, 3, count).astype(np.int8), "score": rng.random(count).astype(np.float32),
        "state": rng.integers(0, 5, count).astype(np.int8), "stated": rng.random(count) < 0.3,
        "amount_minor": rng.integers(1, 10_000, count), "currency": rng.choice(np.array(["EUR", "JPY"], object), count),
        "model_version": rng.choice(np.array(["1.0.0", "1.1.0"], object), count), "tenant": np.full(count, "default", object),
        "channel": rng.choice(np.array(["pos", None], object), count),
    }  # fmt: skip
    return DecidedRows(**found | columns)  # type: ignore[arg-type]


def test_figures_are_what_plain_counting_says() -> None:
    data = rows(3_000)
    found = figures(data, "all", "all")
    fraud = [state == LabelState.FRAUD for state in data.state]
    known = [state in (LabelState.FRAUD, LabelState.HONEST) for state in data.state]
    stopped = [code > 0 for code in data.code]
    both = sum(f and s for f, s in zip(fraud, stopped, strict=True))
    assert found.recall.estimate == pytest.approx(both / sum(fraud))
    precision = both / sum(k and s for k, s in zip(known, stopped, strict=True))
    assert found.precision.estimate == pytest.approx(precision)
    assert found.false_alarms_per_fraud.estimate == pytest.approx((1 - precision) / precision)
    assert found.calibration.estimate == pytest.approx(sum(fraud) / float(data.score[known].sum()), rel=1e-4)
    assert found.open == sum(state == LabelState.NOT_MATURED for state in data.state)
    assert found.matured + found.open == len(data) == sum(found.labels.values())
    matured = data.state != LabelState.NOT_MATURED
    assert found.label_coverage == pytest.approx(float(data.stated[matured].mean()))
    for money in found.money:
        inside = (data.currency == money.currency) & np.array(fraud)
        assert money.caught_minor == int(data.amount_minor[inside & np.array(stopped)].sum())
        assert money.caught_minor + money.lost_minor == int(data.amount_minor[inside].sum())
    assert [money.currency for money in found.money] == ["EUR", "JPY"]
    for one in (
        found.recall,
        found.precision,
        found.calibration,
        found.review_load,
        found.false_alarms_per_fraud,
    ):
        assert one.low is not None and one.high is not None and one.estimate is not None
        assert one.low < one.estimate < one.high


def test_what_nobody_knows_is_neither_a_false_alarm_nor_a_miss() -> None:
    """Declined payments without a label, open and unknown ones change no share."""
    data = rows(2_000)
    known = data.take(data.fraud | data.honest)
    whole, part = figures(data, "all", "all"), figures(known, "all", "all")
    assert (whole.precision, whole.recall, whole.calibration) == (
        part.precision,
        part.recall,
        part.calibration,
    )
    assert whole.money == part.money


def test_there_are_figures_by_version_tenant_and_channel() -> None:
    data = rows(4_000, tenant=np.array([f"t-{number % 30}" for number in range(4_000)], object))
    found = performance(data)
    assert [one.kind for one in found[:3]] == ["all", "model_version", "model_version"]
    for kind, groups in (("model_version", 2), ("tenant", MAX_GROUPS + 1), ("channel", 2)):
        some = [one for one in found if one.kind == kind]
        assert len(some) == groups
        assert sum(sum(one.decisions.values()) for one in some) == len(data)
    assert OTHERS in {one.group for one in found if one.kind == "tenant"}
    assert "(unknown)" in {one.group for one in found if one.kind == "channel"}


def test_nothing_at_all_has_no_figures() -> None:
    found = figures(rows(10).take(np.zeros(10, bool)), "all", "all")
    assert (found.precision.estimate, found.recall.estimate, found.label_coverage) == (None, None, None)
    assert drops(rows(10).take(np.zeros(10, bool))) == []


def test_intervals_hold_the_truth_for_payments_that_come_in_cards() -> None:
    """Payments of a card share their fate: the interval must be wider than for independent ones, and hold 19 times in 20."""
    rng, held, naive = np.random.default_rng(3), 0, 0
    for _ in range(400):
        chance = np.repeat(rng.beta(2, 2, 150), 8)
        card = np.repeat(np.arange(150), 8)
        part = rng.random(1_200) < chance
        found = share(part, np.ones(1_200), card)
        assert found.low is not None and found.high is not None
        held += found.low <= 0.5 <= found.high
        half = 1.96 * np.sqrt(part.mean() * (1 - part.mean()) / 1_200)
        naive += abs(part.mean() - 0.5) <= half
    assert held >= 370 > naive


def test_ratios_at_their_ends() -> None:
    card = np.arange(10)
    none = share(np.zeros(10), np.ones(10), card)
    assert none.low == 0.0 and none.high is not None and 0.2 < none.high < 0.4
    assert odds_against(none).estimate is None
    assert share(np.zeros(10), np.zeros(10), card).estimate is None
    low = ratio(np.zeros(10), np.ones(10), card, floor=0.5)
    assert low.estimate == 0.05 and low.low is not None and low.low > 0


def injected(drop: float, frauds: int = 20_000) -> DecidedRows:
    """Five weeks of frauds of which 80 % are stopped, in the newest week so much less; every second payment is in yen."""
    data = rows(2 * frauds)
    fraud = np.arange(2 * frauds) % 2 == 0
    newest = data.event_ms >= data.event_ms[-1] + 1 - 7 * DAY_MS
    stopped = np.zeros(2 * frauds, bool)
    for week, recall in ((newest, 0.8 * (1 - drop)), (~newest, 0.8)):
        places = np.flatnonzero(week & fraud)
        order = np.random.default_rng(5).permutation(places)
        stopped[order[: round(len(places) * recall)]] = True
    state = np.where(fraud, LabelState.FRAUD, LabelState.HONEST).astype(np.int8)
    return dataclasses.replace(
        data, state=state, code=stopped.astype(np.int8), card=np.arange(2 * frauds).astype(object),
        amount_minor=np.full(2 * frauds, 1_000),
    )  # fmt: skip


@pytest.mark.parametrize(("drop", "down"), [(0.06, True), (0.04, False), (0.0, False), (-0.06, False)])
def test_a_drop_of_six_percent_is_told_of_and_one_of_four_is_not(drop: float, down: bool) -> None:
    found = {one.figure: one for one in drops(injected(drop))}
    recall = found["recall"]
    assert recall.down == down and recall.drop == pytest.approx(drop, abs=0.001)
    assert recall.low < drop < recall.high
    # nothing else has changed: who is stopped is always a fraud
    assert not found["precision"].down
    assert set(found) == {"recall", "precision", "money_caught.EUR", "money_caught.JPY"}


def test_a_drop_that_few_frauds_do_not_prove_pages_nobody() -> None:
    few = {one.figure: one for one in drops(injected(0.06, 1_000))}
    assert few["recall"].drop == pytest.approx(0.06, abs=0.01) and few["recall"].low < 0
    assert not few["recall"].down
    assert drops(injected(0.5, 150)) == [], "with fewer than a hundred frauds a week nothing is said"


def test_weeks_of_chance_alone_page_nobody() -> None:
    """Half a year of weeks with the same recall: no page."""
    rng = np.random.default_rng(12)
    count = 26 * 600
    data = rows(count, event_ms=np.sort(rng.integers(0, 26 * 7 * DAY_MS, count)))
    data = dataclasses.replace(
        data, state=np.full(count, LabelState.FRAUD, np.int8), code=(rng.random(count) < 0.7).astype(np.int8),
        currency=np.full(count, "EUR", object), card=np.arange(count).astype(object),
    )  # fmt: skip
    pages = 0
    for start, end in pairwise(range(0, 26, 5)):
        window = data.take((data.event_ms >= start * 7 * DAY_MS) & (data.event_ms < end * 7 * DAY_MS))
        pages += any(drop.down for drop in drops(window))
    assert pages == 0
