"""Precedence of lists, rules and scores; expiry and tenants; what fails is skipped, counted, and stops nothing else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from features.catalogue import WIDTH
from models.policy.lists import MAX_ENTRIES, Entry, PolicyList
from models.policy.policy import Policy, PolicyError, Rule
from models.policy.rules.columns import TableColumns
from models.policy.thresholds import ExpectedLoss, Threshold
from services.scoring.decision.rule_failures import RuleFailures

END = datetime(2026, 12, 1, tzinfo=UTC)
BEFORE_MS = END.timestamp() * 1000 - 1
AFTER_MS = END.timestamp() * 1000
APPROVE, REVIEW, DECLINE = 0, 1, 2


def decide(
    policy: Policy, scores: list[float], now_ms: float = BEFORE_MS, failed: Any = None, **fields: list
) -> tuple[list[int], list[list[str]]]:
    matrix = np.full((len(scores), WIDTH), np.nan, np.float32)
    told = failed or (lambda name, error: pytest.fail(f"{name}: {error}"))
    codes, names = policy.decide(np.array(scores, np.float32), matrix, TableColumns(fields), now_ms, told)
    return codes.tolist(), names


def policy(**parts: Any) -> Policy:
    return Policy(version="1", review=0.5, decline=0.9, **parts)


def entries(*values: str) -> tuple[Entry, ...]:
    return tuple(Entry(value) for value in values)


def listed(kind: Any, *values: str, field: Any = "card_id", **more: Any) -> PolicyList:
    return PolicyList(
        name=f"{kind}-{field.replace('_', '-')}", kind=kind, field=field, owner="ann", entries=entries(*values),
        **({"expires": END} | more),
    )  # fmt: skip


def test_block_before_allow_before_the_strictest_of_the_rest() -> None:
    whole = policy(
        rules=(Rule("large", "amount_minor > 10", "decline", "ann"), Rule("seen", "amount_minor > 10", "observe", "ann")),
        lists=(listed("block", "b", "ba"), listed("allow", "a", "ba", "aw"), listed("watch", "w", "aw")),
    )  # fmt: skip
    codes, names = decide(
        whole, [0.1, 0.95, 0.1, 0.1, 0.95, 0.1, 0.1, np.nan, np.nan],
        card_id=["b", "a", "ba", "aw", "w", "w", "other", "a", "other"], amount_minor=[1, 11, 1, 1, 1, 1, 11, 1, 1],
    )  # fmt: skip
    assert codes == [DECLINE, APPROVE, DECLINE, APPROVE, DECLINE, REVIEW, DECLINE, APPROVE, REVIEW]
    assert names == [
        ["block-card-id"], ["large", "seen", "allow-card-id"], ["allow-card-id", "block-card-id"],
        ["watch-card-id", "allow-card-id"], ["watch-card-id"], ["watch-card-id"], ["large", "seen"], ["allow-card-id"], [],
    ]  # fmt: skip


def test_an_observing_rule_only_names_itself() -> None:
    assert decide(policy(rules=(Rule("seen", "score > 0", "observe", "ann"),)), [0.1]) == ([0], [["seen"]])


def test_entries_lists_and_rules_end_at_their_expiry() -> None:
    later = END + timedelta(days=1)
    whole = policy(
        rules=(Rule("large", "amount_minor > 10", "review", "ann", expires=END),),
        lists=(
            PolicyList(
                name="blocked", kind="block", field="card_id", owner="ann", expires=END,
                entries=(Entry("short"), Entry("long", expires=later)),
            ),
        ),
    )  # fmt: skip
    fields: dict[str, list] = {"card_id": ["short", "long", None], "amount_minor": [1, 1, 11]}
    assert decide(whole, [0, 0, 0], BEFORE_MS, **fields)[0] == [DECLINE, DECLINE, REVIEW]
    assert decide(whole, [0, 0, 0], AFTER_MS, **fields)[0] == [APPROVE, DECLINE, APPROVE]
    assert decide(whole, [0, 0, 0], later.timestamp() * 1000, **fields)[0] == [APPROVE] * 3


def test_tenants_bound_rules_and_lists() -> None:
    whole = policy(
        rules=(Rule("large", "amount_minor > 10 OR amount_minor < 2", "review", "ann", tenants=("a",)),),
        lists=(listed("block", "x", tenants=("b", "c")),),
    )
    codes, names = decide(
        whole, [0] * 4, tenant=["a", "b", "c", "d"], amount_minor=[11, 11, 1, 11], card_id=["x"] * 4
    )
    assert codes == [REVIEW, DECLINE, DECLINE, APPROVE]
    assert names == [["large"], ["block-card-id"], ["block-card-id"], []]


def test_addresses_and_ranges_of_both_kinds() -> None:
    whole = policy(
        lists=(listed("block", "203.0.113.0/24", "198.51.100.7", "2001:db8::/32", "10.1.2.0/23", field="ip"),)
    )
    hit = [
        "203.0.113.255",
        "198.51.100.7",
        "2001:db8:ffff::1",
        "::ffff:203.0.113.9",
        "10.1.3.255",
        "2001:0DB8:0::1",
    ]
    miss = ["203.0.114.0", "198.51.100.8", "2001:db9::1", "10.1.4.0", None, "no address", "", "203.0.113.1/24", "1.2.3", "٣.0.0.1"]  # fmt: skip
    codes, _ = decide(whole, [0] * (len(hit) + len(miss)), ip=[*hit, *miss])
    assert codes == [DECLINE] * len(hit) + [APPROVE] * len(miss)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (listed("block", "a", expires=None), "a has no expiry"),
        (listed("block", "a", "a"), "a occurs twice"),
        (listed("block", "203.0.113.5/24", field="ip"), "a range such as"),
        (listed("block", "x", field="ip"), "a range such as"),
        (listed("block", *(str(n) for n in range(MAX_ENTRIES + 1))), "remove expired ones"),
    ],
)
def test_lists_that_cannot_be_carried_out_say_why(found: PolicyList, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        _ = policy(lists=(found,)).evaluation


def test_the_most_specific_threshold_holds() -> None:
    whole = policy(
        thresholds=(
            Threshold(tenant="a", channel="ecom", review=0.1, decline=0.2),
            Threshold(tenant="a", review=0.3, decline=0.4),
            Threshold(channel="ecom", review=0.5, decline=0.6),
        )
    )
    codes, _ = decide(
        whole, [0.25, 0.25, 0.35, 0.35, 0.55, 0.65, 0.65, 0.95, np.nan, 0.65],
        tenant=["a", "a", "a", "a", "b", "b", "b", "b", "a", "c"],
        channel=["ecom", "pos", None, "pos", "ecom", "ecom", "pos", None, "ecom", "ecom"],
    )  # fmt: skip
    assert codes == [2, 0, 1, 1, 1, 2, 1, 2, 1, 2]


def test_thresholds_by_channel_alone_hold_too() -> None:
    whole = policy(thresholds=(Threshold(channel="atm", review=0.1, decline=0.2),))
    assert decide(whole, [0.15, 0.15], tenant=["a", "a"], channel=["atm", "pos"])[0] == [1, 0]


def test_expected_loss_by_hand() -> None:
    # approve p*A; review 300 + p*A/10; decline (1-p)*(1000 + A/100)
    loss = ExpectedLoss(
        currency="EUR", review_cost_minor=300, lost_customer_minor=1000, review_misses=0.1, lost_margin=0.01,
        rates={"JPY": 0.5},
    )  # fmt: skip
    codes, _ = decide(
        policy(expected_loss=loss), [0.1, 0.1, 0.5, 0.95, 0.1, 0.6, np.nan],
        # 100 | 1,000 against 400 against 990 | 50 against 305 | 47,500 against 5,050 against 100 | as the second | no rate
        amount_minor=[1_000, 10_000, 100, 50_000, 20_000, 1, 5], currency=["EUR", "EUR", "EUR", "EUR", "JPY", "GBP", "EUR"],
    )  # fmt: skip
    assert codes == [APPROVE, REVIEW, APPROVE, DECLINE, REVIEW, REVIEW, REVIEW]


def test_expected_loss_can_be_one_tenants() -> None:
    loss = ExpectedLoss(currency="EUR", review_cost_minor=300, lost_customer_minor=1000, tenants=("a",))
    codes, _ = decide(
        policy(expected_loss=loss), [0.6] * 2, tenant=["a", "b"], amount_minor=[1, 1], currency=["EUR"] * 2
    )
    assert codes == [APPROVE, REVIEW]


def test_a_rule_that_fails_is_skipped_counted_and_said_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    failed = RuleFailures(lambda: clock[0])
    whole = policy(
        rules=(Rule("broken-rule", "device_id = 'x'", "review", "ann"), Rule("sound", "amount_minor > 1", "review", "ann")),
        lists=(listed("block", "x", field="merchant_id"), listed("watch", "w")),
    )  # fmt: skip
    # a dict cannot be looked up; nor is a field there that was not sent
    fields: dict[str, list] = {"device_id": [{}, {}], "amount_minor": [1, 2], "card_id": ["w", "v"]}
    counted = [_counted(name) for name in ("broken-rule", "block-merchant-id", "sound")]
    with caplog.at_level(logging.ERROR):
        for clock[0] in (0.0, 59.0, 61.0):
            assert decide(whole, [0, 0], failed=failed, **fields) == (
                [REVIEW, REVIEW],
                [["watch-card-id"], ["sound"]],
            )
    after = [_counted(name) for name in ("broken-rule", "block-merchant-id", "sound")]
    assert [new - old for new, old in zip(after, counted, strict=True)] == [3, 3, 0]
    assert sum("broken-rule" in record.message for record in caplog.records) == 2


def test_broken_columns_leave_two_thresholds() -> None:
    told: list[str] = []
    whole = policy(thresholds=(Threshold(channel="atm", review=0.1, decline=0.2),))
    codes, _ = decide(
        whole, [0.6], failed=lambda name, _: told.append(name), tenant=["a"], channel=[["no text"]]
    )
    assert (codes, told) == ([REVIEW], ["thresholds"])


def test_where_only_features_are_known_what_names_fields_is_left_out() -> None:
    whole = policy(
        thresholds=(Threshold(channel="atm", review=0.1, decline=0.2),), lists=(listed("block", "x"),),
        rules=(Rule("a", "amount_minor > 0", "review", "ann"), Rule("b", "features.amount > 0", "review", "ann")),
    )  # fmt: skip
    codes, names = whole.decide(np.array([0.15], np.float32), np.ones((1, WIDTH), np.float32))
    assert (codes.tolist(), names) == ([REVIEW], [["b"]])


def _counted(name: str) -> float:
    return REGISTRY.get_sample_value("tollgate_rule_errors_total", {"rule": name}) or 0.0
