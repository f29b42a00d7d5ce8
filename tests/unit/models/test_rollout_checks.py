"""What guards say of a step's counts: each of the four results, of two arms and of a shadow."""

from __future__ import annotations

import pytest

from models.rollout.arms import arm_of
from models.rollout.checks import checks, figures
from models.rollout.counts import MAX_CURRENCIES, Arms, Labelled, Pair, Pairs, Seen
from models.rollout.plan import Guard, Metric, Plan, Step
from models.rollout.run import Check

SALT = "5" * 32


def arms_of(n: int, share: float = 0.5, worse: float = 1.0) -> Arms:
    """Each twentieth card has a declined payment, of the challenger's cards ``worse`` times as many; each declined card ten times."""
    counts = Arms(SALT, share)
    for i in range(n):
        card = f"card-{i}"
        arm = arm_of(SALT, card, share)
        declined = i % round(20 / (worse if arm == "challenger" else 1.0)) == 0
        for _ in range(10 if declined else 1):
            counts.add(Seen(card, arm, 2 if declined else 0, 0.9 if declined else 0.001, 5.0))
    return counts


def one(guard: Guard, counts: Arms | Pairs, share: float = 0.5) -> Check:
    step = Step(kind="shadow") if isinstance(counts, Pairs) else Step(kind="canary", share=share)
    (found,) = checks(Plan(steps=(step,), guards=(guard,)), step, counts)
    return found


DECLINES = Guard(metric="decline_rate", max=1.3, min=0.7)


@pytest.mark.parametrize(
    ("n", "worse", "result"),
    [(60_000, 1.0, "pass"), (20_000, 2.0, "fail"), (1_000, 1.0, "inconclusive"), (100, 1.0, "too_few"), (20_000, 0.5, "fail")],
)  # fmt: skip
def test_the_four_results(n: int, worse: float, result: str) -> None:
    found = one(DECLINES, arms_of(n, worse=worse))
    assert found.result == result
    assert found.limit == "at least 0.7 and at most 1.3 (ratio to the champion)"
    assert found.n == pytest.approx(n / 20 * (1 + worse) / 2, rel=0.25)


def test_a_card_declined_ten_times_counts_once() -> None:
    counts = arms_of(4_000)
    cards = counts.events["decline"]
    assert cards.champion + cards.challenger == 200
    assert sum(counts.decisions.values()) == 4_000 + 9 * 200


def test_a_challenger_that_hands_its_payments_over_is_found() -> None:
    counts = Arms(SALT, 0.1)
    for i in range(3_000):
        counts.add(Seen(f"card-{i}", "champion", 0, 0.001, 5.0))
    found = one(Guard(metric="error_rate", max=0.01), counts, 0.1)
    assert found.result == "fail" and found.n == found.estimate * counts.decisions["challenger"]  # type: ignore[operator]


@pytest.mark.parametrize(("slow", "result"), [(1.0, "pass"), (3.0, "fail")])
def test_latency_by_blocks_though_one_block_stalls(slow: float, result: str) -> None:
    counts = Arms(SALT, 0.5)
    for i in range(12_000):
        card = f"card-{i}"
        mine = arm_of(SALT, card, 0.5) == "challenger"
        stalled = 500.0 if mine and 3_000 < i < 3_400 else 0.0
        counts.add(
            Seen(
                card,
                "challenger" if mine else "champion",
                0,
                None,
                stalled + (slow if mine else 1) * (4 + i % 7),
            )
        )
    assert one(Guard(metric="latency_p99_ms", max=1.5), counts).result == result


def test_with_all_cards_only_what_needs_no_champion_is_measured() -> None:
    step = Step(kind="canary", share=1.0)
    guards = (
        DECLINES,
        Guard(metric="error_rate", max=0.01),
        Guard(metric="latency_p99_ms", compare="absolute", max=100),
    )
    counts = Arms(SALT, 1.0)
    for i in range(8_000):
        counts.add(Seen(f"card-{i}", "challenger", 0, 0.001, 5.0))
    found = checks(Plan(steps=(step,), guards=guards), step, counts)
    assert [(check.name, check.result) for check in found] == [
        ("error_rate", "pass"),
        ("latency_p99_ms", "pass"),
    ]


def pairs(both: int, champion: int, challenger: int, neither: int = 5_000, failed: int = 0) -> Pairs:
    counts, n = Pairs(), 0
    for times, theirs, ours in (
        (both, 2, 2),
        (champion, 2, 0),
        (challenger, 0, 2),
        (neither, 0, 0),
        (failed, 0, -1),
    ):
        for _ in range(times):
            counts.add(Pair(f"card-{n}", theirs, ours, 0.45 * theirs, 0.45 * max(ours, 0), 100, "EUR"))
            n += 1
    return counts


@pytest.mark.parametrize(
    ("metric", "counts", "result"),
    [
        ("decline_rate", pairs(300, 3, 3), "pass"),
        ("decline_rate", pairs(100, 0, 100), "fail"),
        ("decline_rate", pairs(100, 100, 0), "fail"),
        ("decline_rate", pairs(20, 5, 5), "inconclusive"),
        ("decline_rate", pairs(3, 0, 0), "too_few"),
        ("kept_declines", pairs(300, 3, 3), "pass"),
        ("kept_declines", pairs(150, 150, 150), "fail"),
        ("error_rate", pairs(0, 0, 0, failed=500), "fail"),
        ("changed_decisions", pairs(100, 1, 1), "pass"),
        ("score_psi", pairs(300, 3, 3), "pass"),
        ("score_psi", pairs(0, 0, 3_000), "fail"),
    ],
)
def test_a_shadow(metric: Metric, counts: Pairs, result: str) -> None:
    limits = {
        "decline_rate": DECLINES, "kept_declines": Guard(metric="kept_declines", min=0.7),
        "error_rate": Guard(metric="error_rate", max=0.01), "changed_decisions": Guard(metric="changed_decisions", max=0.02),
        "score_psi": Guard(metric="score_psi", max=0.25),
    }  # fmt: skip
    assert one(limits[metric], counts).result == result


def test_figures_for_people() -> None:
    found = figures(pairs(100, 30, 5))
    assert (found["declined_by_champion_only"], found["declined_by_challenger_only"]) == (30, 5)
    assert found["mcnemar_p"] < 0.01
    assert figures(pairs(100, 30, 30))["mcnemar_p"] > 0.1
    assert found["moved_minor_EUR"] == -2_500


@pytest.mark.parametrize("metric", ["missed_fraud", "caught_fraud", "precision"])
@pytest.mark.parametrize("worse", [False, True])
def test_labels(metric: Metric, worse: bool) -> None:
    counts = Arms(SALT, 0.5)
    for i in range(4_000):
        card = f"card-{i}"
        bad = worse and arm_of(SALT, card, 0.5) == "challenger"
        # the worse model misses two frauds of three, the other one of three; and reviews honest payments in their place
        missed = i % 3 != 0 if bad else i % 3 == 0
        counts.add_label(Labelled(card, 0 if missed else 1, True))
        if missed:
            counts.add_label(Labelled(card, 1, not bad and i % 2 == 0))
    limit = Guard(metric=metric, max=1.5) if metric == "missed_fraud" else Guard(metric=metric, min=0.7)
    assert one(limit, counts).result == ("fail" if worse else "pass")


@pytest.mark.parametrize("worse", [False, True])
def test_caught_money_is_of_one_currency_and_each_card_counts_once(worse: bool) -> None:
    counts = Arms(SALT, 0.5)
    for i in range(4_000):
        card = f"card-{i}"
        bad = worse and arm_of(SALT, card, 0.5) == "challenger"
        # both models stop two frauds of three, but the worse one the cheap ones
        stopped = i % 3 != 0
        amount = 90_000 if (i % 3 == 2) != bad else 5_000
        for _ in range(1 + 5 * (i % 2)):
            counts.add_label(
                Labelled(card, 1 if stopped else 0, True, amount if stopped or not bad else 90_000, "EUR")
            )
        # in another currency it is the other way round
        counts.add_label(Labelled(f"yen-{i}", 1, True, 10**9, "JPY"))
        counts.add_label(Labelled(f"from-before-{i}", 0, True))
    assert sum(map(len, counts.money["EUR"].frauds.values())) == 4_000
    found = one(Guard(metric="caught_money", min=0.8, currency="EUR"), counts)
    assert found.result == ("fail" if worse else "pass")
    assert found.limit == "at least 0.8 (EUR, ratio to the champion)"
    assert one(Guard(metric="caught_money", min=0.8, currency="CHF"), counts).result == "too_few"


def test_money_is_summed_of_as_many_currencies_as_there_are() -> None:
    """Who may write to `shadow` could else make the record of a rollout as long as he likes, until no replica reads it."""
    counts = Pairs()
    counts.add_all(Pair(f"card-{n}", 0, 2, 0.1, 0.9, 100, f"{n:03}") for n in range(1_000))
    counts.add(Pair("card-x", 0, 2, 0.1, 0.9, 50, "000"))
    assert len(counts.moved_minor) == MAX_CURRENCIES and counts.moved_minor["000"] == 150
    assert counts.decisions == 1_001
