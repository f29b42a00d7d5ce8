"""What the console keeps: counts a second, decisions with their payments, labels, positions, and what it forgets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pytest

from features.transaction import Transaction
from models.decision import DECISIONS
from services.console.kept.database import Database
from services.console.kept.taking import Taker, expected_loss
from services.console.kept.ticks import KIND_COUNT, bins_of, quantile_ms, series
from services.console.kept.trimming import MAX_KEPT, trim
from streams.contracts.outcome import Outcome
from streams.contracts.text.json_encoding import encode
from streams.log.records import encode_entities, encode_entities_of
from tests.support.console_world import NOW_S, Record, World, decided

NOW = int(NOW_S)


class Breaks(Record):
    """A record whose position cannot be kept, which is the last thing that is asked of it."""

    def offset(self) -> int:
        raise RuntimeError("the disk")


def test_every_decision_is_counted_and_the_not_approved_are_kept(world: World) -> None:
    rows = [decided(f"a{n}", "approve", latency_ms=float(n)) for n in range(98)]
    world.take(*rows, decided("r"), decided("d", "decline", status="degraded"))
    found = series(world.database.read(), NOW - 60, NOW - 59, 1, ()).columns()
    assert [found[name] for name in DECISIONS] == [[98], [1], [1]]
    assert (found["scored"], found["degraded"], found["not_scored"]) == ([99], [1], [0])
    assert 48 <= found["p50_ms"][0] <= 54
    assert 97 <= found["p99_ms"][0] <= 108
    kept = world.database.read().execute("SELECT transaction_id FROM decision ORDER BY id").fetchall()
    assert [row[0] for row in kept] == ["r", "d"]
    minutes = series(world.database.read(), NOW - 600, NOW, 60, ()).columns()
    assert (sum(minutes["approve"]), len(minutes["t"])) == (98, 10)


def test_counts_add_up_over_batches_and_tenants(world: World) -> None:
    world.take(decided("a", "approve"), decided("b", "approve", tenant="shop"))
    world.take(decided("c", "approve"))
    connection = world.database.read()
    for tenants, count in (((), 3), (("shop",), 1), (("default", "shop"), 3), (("none",), 0)):
        assert series(connection, NOW - 60, NOW - 59, 1, tenants).columns()["approve"] == [count]


def test_series_are_bounded(world: World) -> None:
    client = world.client("analyst")
    assert client.get("/api/v1/series?seconds=86400&step=1").status_code == 422
    assert len(client.get("/api/v1/series?seconds=86400&step=60").json()["t"]) in (1440, 1441)


@pytest.mark.parametrize("value", [0.0, 0.4, 0.5, 1.0, 7.4, 99.9, 5_000.0])
def test_a_quantile_is_at_most_a_tenth_too_high(value: float) -> None:
    histogram = np.bincount(bins_of(np.array([value])), minlength=106).astype(np.int64)
    found = quantile_ms(histogram, 0.99)
    assert found is not None
    assert value <= found <= max(0.5, value * 1.1) + 0.01


def test_latencies_that_are_none_do_not_stop_the_count() -> None:
    assert bins_of(np.array([-1.0, float("nan"), float("inf"), 1e12])).max() == 105
    assert KIND_COUNT == 6


def test_what_is_no_decision_is_passed_over(world: World) -> None:
    junk = [b"", b"{", b"{}", b'{"decision": "maybe", "status": "scored", "latency_ms": 1}', b"\xff\xfe", b'{"decision":"review","status":"odd","latency_ms":1}', b'{"decision":"review","status":"scored","latency_ms":1}']  # fmt: skip
    records: list[Any] = [Record("decisions", raw, offset) for offset, raw in enumerate(junk)]
    records += [Record("outcomes", b"[]", 3), Record("outcomes", None, 5)]
    world.taker.take(records, NOW_S)
    world.take(decided("r"), amounts=False)
    assert world.client("analyst").get("/api/v1/queue").json()["open"] == 1


def test_a_payment_is_what_the_header_says(world: World) -> None:
    payment = Transaction(
        transaction_id="tx-2", event_time=datetime.fromtimestamp(NOW_S, UTC), card_id="card-1", merchant_id="m-2", amount_minor=200,
        currency="EUR", device_id="d-1", ip="203.0.113.7", channel="ecom", country="NL",
    )  # fmt: skip
    from_before = encode_entities(("m-5", None, None, None))
    for n, header in enumerate(
        (
            encode_entities_of(payment),
            from_before,
            b"junk",
            encode_entities(("m", None, None, None, None, -1, "EUR")),
        )
    ):
        world.taker.take(
            [Record("decisions", encode(decided(f"tx-{n}", score=0.25)), n, header=header)], NOW_S
        )  # type: ignore[list-item]
    client = world.client("analyst")
    rows = {row["transaction_id"]: row for row in client.get("/api/v1/queue").json()["rows"]}
    names = (
        "amount_minor",
        "currency",
        "merchant_id",
        "device_id",
        "ip",
        "channel",
        "country",
        "expected_loss_minor",
    )
    assert [rows["tx-0"][name] for name in names] == [
        200,
        "EUR",
        "m-2",
        "d-1",
        "203.0.113.7",
        "ecom",
        "NL",
        50,
    ]
    assert [rows["tx-1"][name] for name in names] == [None, None, "m-5", *[None] * 5]
    # whoever may produce can write a header: what is none is as if it were not there
    assert rows["tx-2"] | {"transaction_id": ""} == rows["tx-3"] | {"transaction_id": ""}
    assert rows["tx-2"]["amount_minor"] is None
    assert client.get("/api/v1/decisions?device=d-1").json()["counted"] == 1


def test_a_matured_label_closes_a_review(world: World) -> None:
    world.take(decided("tx-1"), decided("tx-2"))
    outcome = Outcome(
        decision=decided("tx-1"), label="fraud", label_time=datetime.fromtimestamp(NOW_S, UTC), source="chargeback",
        merchant_id="m-1",
    )  # fmt: skip
    world.taker.take([Record("outcomes", encode(outcome))], NOW_S)  # type: ignore[list-item]
    client = world.client("analyst")
    assert client.get("/api/v1/queue").json()["open"] == 1
    (row,) = client.get("/api/v1/decisions?label=fraud").json()["rows"]
    assert (row["label"]["source"], row["label"]["state"]) == ("chargeback", "matured")
    assert client.get("/api/v1/overview").json()["labels"]["caught"] == [
        {"currency": "EUR", "minor": 10000, "payments": 1}
    ]
    hits = client.get("/api/v1/rules").json()["rules"][0]["hits"]
    assert hits == {"day": 2, "week": 2, "approved": 0, "fraud": 1, "legit": 0, "open": 1}


def test_a_rule_that_only_observes_is_counted_on_approved_payments_too(world: World) -> None:
    for _ in range(2):
        world.take(
            decided("r"), *(decided(f"a{n}", "approve") for n in range(3)), decided("b", "approve", rules=[])
        )
    world.take(decided("c", "approve", tenant="shop"), age_s=2 * 86_400)
    hits = world.client("analyst").get("/api/v1/rules").json()["rules"][0]["hits"]
    assert hits == {"day": 7, "week": 8, "approved": 7, "fraud": 0, "legit": 0, "open": 1}
    of_shop = world.client("reviewer", tenants=["shop"]).get("/api/v1/rules").json()["rules"][0]["hits"]
    assert (of_shop["day"], of_shop["week"]) == (0, 1)


def test_fraud_that_was_approved_is_money_lost_until_a_label_says_otherwise(world: World) -> None:
    def labelled(
        name: str,
        label: Literal["fraud", "legit"],
        age_s: float,
        decision: str = "approve",
        minor: int | None = 2_500,
    ) -> None:
        outcome = Outcome(
            decision=decided(name, decision), label=label, label_time=datetime.fromtimestamp(NOW_S - age_s, UTC), source="chargeback",
            merchant_id="m-1", amount_minor=minor, currency=None if minor is None else "EUR",
        )  # fmt: skip
        world.taker.take([Record("outcomes", encode(outcome))], NOW_S)  # type: ignore[list-item]

    def missed() -> Any:
        return world.client("analyst").get("/api/v1/overview").json()["labels"]["missed"]

    assert missed() == []
    labelled("a", "fraud", 50)
    labelled("a", "fraud", 40)
    labelled("b", "fraud", 50)
    labelled("caught", "fraud", 50, "decline")
    labelled("unknown amount", "fraud", 50, minor=None)
    labelled("long ago", "fraud", 31 * 86_400)
    assert missed() == [{"currency": "EUR", "minor": 5_000, "payments": 2}]
    # an older word does not count against a newer one
    labelled("a", "legit", 45)
    labelled("b", "legit", 30)
    assert missed() == [{"currency": "EUR", "minor": 2_500, "payments": 1}]


def test_a_restart_goes_on_where_it_was_and_takes_nothing_twice(world: World) -> None:
    record: Any = Record("decisions", encode(decided("tx-1")), 41, partition=3)
    world.taker.take([record], NOW_S)
    again = Taker(Database(world.settings.console_dir / "console.sqlite"))
    assert again.positions == {("decisions", 3): 42}

    # a broken transaction leaves nothing behind
    with pytest.raises(RuntimeError, match="the disk"):
        again.take([Breaks("decisions", encode(decided("tx-2")), 42, partition=3)], NOW_S)  # type: ignore[list-item]
    assert world.client("analyst").get("/api/v1/decisions").json()["counted"] == 1


def test_the_same_decision_again_is_one(world: World) -> None:
    world.take(decided("tx-1"))
    world.take(decided("tx-1"))
    assert world.client("analyst").get("/api/v1/decisions").json()["counted"] == 1


def test_old_and_too_many_decisions_go(world: World) -> None:
    world.take(decided("old"), age_s=31 * 86_400)
    for n in range(5):
        world.take(decided(f"tx-{n}"), age_s=100 - n)
    assert MAX_KEPT > 5
    with world.database.write() as connection:
        trim(connection, NOW_S)
        trim(connection, NOW_S, max_kept=3)
    rows = world.client("analyst").get("/api/v1/decisions").json()["rows"]
    assert [row["transaction_id"] for row in rows] == ["tx-4", "tx-3", "tx-2"]


def test_pages_of_a_list_hold_each_row_once(world: World) -> None:
    for n in range(7):
        world.take(decided(f"tx-{n}"), age_s=50)
    client, seen, cursor = world.client("analyst"), [], ""
    while cursor is not None:
        page = client.get(f"/api/v1/decisions?limit=3&cursor={cursor}").json()
        seen += [row["transaction_id"] for row in page["rows"]]
        cursor = page["next"]
    assert seen == [f"tx-{n}" for n in range(6, -1, -1)]
    assert client.get("/api/v1/decisions?cursor=junk").status_code == 422


def test_an_expected_loss_is_in_units_of_its_currency() -> None:
    assert expected_loss(0.5, 10_000, "EUR") == 50
    assert expected_loss(0.5, 10_000, "JPY") == 5_000
    assert expected_loss(None, 100, "EUR") == 1
