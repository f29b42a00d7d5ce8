"""Plans: what is understood, and what each mistake is told; arms: a card keeps its arm while the share grows."""

from __future__ import annotations

import pytest

from models.rollout.arms import CHALLENGER, CHAMPION, arm_of, position
from models.rollout.plan import DEFAULT_PLAN, IN_ARMS, IN_SHADOW, METRICS, PlanError, check_plan, parse_plan

GOOD = """
on_no_data = "rollback"
[[steps]]
kind = "shadow"
min_decisions = 20000
[[steps]]
kind = "wait_approval"
[[steps]]
kind = "canary"
share = 0.01
min_decisions = 5000
min_s = 60
[[steps]]
kind = "blue_green"
[[guards]]
metric = "decline_rate"
compare = "ratio"
max = 1.3
[[guards]]
metric = "precision"
min = 0.8
"""


def test_plan_of_a_file() -> None:
    plan = parse_plan(GOOD)
    assert [step.kind for step in plan.steps] == ["shadow", "wait_approval", "canary", "blue_green"]
    assert (plan.on_no_data, plan.steps[2].share, plan.steps[2].min_s) == ("rollback", 0.01, 60)
    assert [guard.must_pass for guard in plan.guards] == [True, False]
    assert [guard.metric for guard in plan.guards_of(plan.steps[0])] == ["decline_rate"]
    assert plan.guards_of(plan.steps[1]) == ()
    assert plan.guards_of(plan.steps[2]) == plan.guards


def test_default_plan_holds_and_measures_all() -> None:
    check_plan(DEFAULT_PLAN)
    assert set(METRICS) == IN_SHADOW | IN_ARMS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps = 3", "does not hold"),
        ("= 3", "no TOML"),
        ("steps = " + "[" * 4000, "nested too deeply"),
        ('[[steps]]\nkind = "shadow"\nmin_decisions = 1' + "0" * 30, "min_decisions"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "error_rate"\nmax = nan', "nan is no limit"),
        ("", "steps"),
        ("steps = []", "1 to 16"),
        ('[[steps]]\nkind = "canary"', "share must lie above 0"),
        ('[[steps]]\nkind = "canary"\nshare = 5', "0.05 is 5 %"),
        ('[[steps]]\nkind = "canary"\nshare = 0.5\n[[steps]]\nkind = "canary"\nshare = 0.1', "change back"),
        ('[[steps]]\nkind = "shadow"\nshare = 0.5', "only canary and ab have a share"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "caught_money"\nmin = 0.8', 'currency = "EUR"'),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "caught_money"\nmin = 0.8\ncurrency = "eur"', "three capital letters"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "precision"\nmin = 0.8\ncurrency = "EUR"', "no other metric"),
        ('[[steps]]\nkind = "ab"\nshare = 0.5', "give min_s"),
        ('[[steps]]\nkind = "shadow"\nmin_s = 90000', "max_s must be above min_s"),
        ('[[steps]]\nkind = "shadwo"', "shadwo"),
        ('[[steps]]\nkind = "shadow"\nmin_decision = 5', "min_decision"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "decline_rate"', "give max, min or both"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "decline_rate"\nmax = 0.9', "must be above 1"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "score_psi"\nmax = 0.1\ncompare = "ratio"', "absolute"),
        ('[[steps]]\nkind = "shadow"\n[[guards]]\nmetric = "score_psi"\nmax = 0.1\n' * 2, "two guards"),
        ('alpha = 0.5\n[[steps]]\nkind = "shadow"', "alpha"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        parse_plan(text)


def test_a_card_keeps_its_arm_while_the_share_grows() -> None:
    cards = [f"card-{i}" for i in range(4_000)]
    before: set[str] = set()
    for share in (0.0, 0.01, 0.05, 0.25, 1.0):
        now = {card for card in cards if arm_of("a" * 32, card, share) == CHALLENGER}
        assert before <= now and abs(len(now) - share * len(cards)) <= 4 * (share * len(cards)) ** 0.5
        before = now
    assert arm_of("a" * 32, "card-1", 0.0) == CHAMPION


def test_another_rollout_takes_other_cards() -> None:
    places = [(position("a" * 32, f"card-{i}"), position("b" * 32, f"card-{i}")) for i in range(4_000)]
    both = sum(a < 0.1 and b < 0.1 for a, b in places)
    assert 15 <= both <= 75  # 1 % of them, were the two independent
