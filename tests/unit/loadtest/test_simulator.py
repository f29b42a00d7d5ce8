"""The simulator: the same seed gives the same traffic, the mix is what was asked for, switches change what they name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.compute as pc
import pytest

from features.transaction import epoch_ms
from loadtest.traffic.simulator import Attack, Drift, Plan, create_world, history_table
from loadtest.traffic.simulator.catalog import FRAUD_KINDS
from streams.contracts.label import parse_label
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping.encoding import LIVE_HEAD, encode_labels, encode_live_tails, encode_transactions

END = datetime(2026, 11, 1, tzinfo=UTC)
START = END - timedelta(days=20)
MIDDLE = epoch_ms(END - timedelta(days=10))


@pytest.fixture(scope="module")
def world():
    return create_world(7, 600)


@pytest.fixture(scope="module")
def history(world):
    return history_table(world, START, END, count=30_000, plan=Plan(fraud_rate=0.02))


def test_same_seed_same_traffic_other_seed_other_traffic(world, history) -> None:
    again = history_table(create_world(7, 600), START, END, count=30_000, plan=Plan(fraud_rate=0.02))
    assert again.equals(history)
    other = history_table(create_world(8, 600), START, END, count=30_000, plan=Plan(fraud_rate=0.02))
    assert not other["amount_minor"].equals(history["amount_minor"])
    later = history_table(world, START, END, count=30_000, plan=Plan(fraud_rate=0.02), stream=1)
    assert not later["amount_minor"].equals(history["amount_minor"])


def test_rows_are_exact_ordered_and_inside_the_span(history) -> None:
    assert history.num_rows == 30_000
    times = history["event_time"].to_numpy()
    assert (np.diff(times) >= np.timedelta64(0)).all()
    assert times[0] >= np.datetime64(START.replace(tzinfo=None)) and times[-1] < np.datetime64(
        END.replace(tzinfo=None)
    )
    assert len(pc.unique(history["transaction_id"])) == 30_000


def test_fraud_comes_in_all_kinds_near_its_rate(history) -> None:
    rate = pc.mean(history["is_fraud"]).as_py()
    assert 0.014 < rate < 0.026
    assert set(pc.unique(history["fraud_kind"]).to_pylist()) == {None, *FRAUD_KINDS}
    assert pc.is_valid(history["fraud_kind"]).equals(history["is_fraud"])


def test_labels_come_late_and_some_never(history) -> None:
    told = history.filter(pc.is_valid(history["label"]))
    delay_days = (told["label_time"].to_numpy() - told["event_time"].to_numpy()) / np.timedelta64(1, "D")
    assert (delay_days > 0).all()
    assert 3 < np.median(delay_days) < 5 and np.percentile(delay_days, 95) > 8
    fraud = history.filter(history["is_fraud"])
    silent = pc.mean(pc.is_null(fraud["label"]).cast("int8")).as_py()
    assert 0.04 < silent < 0.17
    assert pc.all(pc.equal(pc.equal(told["label"], "fraud"), told["is_fraud"])).as_py()


def test_every_value_fits_the_contract(history) -> None:
    some = history.slice(0, 4_000)
    for raw, expected in zip(encode_transactions(some), some.to_pylist(), strict=True):
        tx = parse_transaction(raw)
        assert tx.transaction_id == expected["transaction_id"] and tx.event_time == expected["event_time"]
        assert tx.amount_minor == expected["amount_minor"] and tx.latitude == expected["latitude"]
        assert tx.device_id == expected["device_id"] and tx.channel == expected["channel"]
    told = some.filter(pc.is_valid(some["label"]))
    for raw, expected in zip(encode_labels(told), told.to_pylist(), strict=True):
        label = parse_label(raw)
        assert (label.label, label.label_time, label.source) == (
            expected["label"], expected["label_time"], expected["label_source"],
        )  # fmt: skip


def test_live_tails_complete_to_the_same_transaction_at_another_time(history) -> None:
    row = history.slice(5, 1)
    raw = LIVE_HEAD + b"2026-11-21T10:15:30.123Z" + encode_live_tails(row)[0]
    assert parse_transaction(raw).event_time == datetime(2026, 11, 21, 10, 15, 30, 123000, tzinfo=UTC)


def test_a_run_of_one_minute_shows_whole_campaigns(world) -> None:
    minute = history_table(world, END - timedelta(minutes=1), END, count=20_000)
    assert 0.004 < pc.mean(minute["is_fraud"]).as_py() < 0.014


def _halves(world, **switches):
    table = history_table(world, START, END, count=20_000, plan=Plan(fraud_rate=0.0, **switches))
    before = pc.less(table["event_time"].cast("int64"), MIDDLE)
    return table.filter(before), table.filter(pc.invert(before))


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("amounts", lambda t: pc.mean(t["amount_minor"]).as_py() / 10_000),
        ("channels", lambda t: pc.mean(pc.equal(t["channel"], "ecom").cast("int8")).as_py()),
        ("country", lambda t: pc.mean(pc.equal(t["country"], "BR").cast("int8")).as_py() + 0.05),
    ],
)
def test_drift_changes_what_it_names_from_its_moment_on(world, kind, share) -> None:
    before, after = _halves(world, drifts=[Drift(kind, MIDDLE)])
    assert share(after) > 1.5 * share(before)
    before, after = _halves(world)
    assert share(after) < 1.2 * share(before)


@pytest.mark.parametrize("kind", FRAUD_KINDS)
def test_an_attack_of_each_kind_begins_at_its_moment(world, kind) -> None:
    before, after = _halves(world, attacks=[Attack(kind, MIDDLE)])
    assert not pc.any(before["is_fraud"]).as_py()
    assert set(pc.unique(after["fraud_kind"]).to_pylist()) == {None, kind}
    assert 0.02 < pc.mean(after["is_fraud"]).as_py() < 0.09


def test_bad_arguments_are_refused(world) -> None:
    with pytest.raises(ValueError, match="cards"):
        create_world(1, 0)
    with pytest.raises(ValueError, match="drift must be one of"):
        Drift("weather", 0)
    with pytest.raises(ValueError, match="attack must be one of"):
        Attack("weather", 0)
    with pytest.raises(ValueError, match="empty"):
        history_table(world, END, START)
    with pytest.raises(ValueError, match="ASCII letters"):
        history_table(world, START, END, id_prefix="4111-1111")
