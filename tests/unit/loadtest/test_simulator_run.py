"""What a run is made of: pacing, backpressure, blocks, due labels, CPU per transaction, the demo's scoreboard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from features.transaction import epoch_ms
from loadtest.traffic.measuring_client import cpu_us_per_transaction
from loadtest.traffic.measuring_process import Begin, Declined, Progress
from loadtest.traffic.scoreboard import Scoreboard
from loadtest.traffic.sending import LABELS, TRANSACTIONS, Backpressure, SendError, pace
from loadtest.traffic.simulated_labels import AgedLabels, DueLabels, LabelsOfDecided
from loadtest.traffic.simulation import (
    Run,
    Sent,
    Switch,
    _send_paced,
    ahead,
    blocks,
    natural_scale,
)
from loadtest.traffic.simulator import create_world
from loadtest.traffic.summary import complete, lines
from services.cli.demo.view import drift, line, truth
from streams.contracts.drift import DriftRow
from streams.contracts.label import parse_label
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping.encoding import LIVE_HEAD

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def test_pace_keeps_the_rate_whatever_sending_costs() -> None:
    sent: list[tuple[float, int]] = []
    began = time.perf_counter()

    def send(_begin: int, end: int) -> None:
        sent.append((time.perf_counter() - began, end))

    assert pace(2_000, 600, send, lambda: False) == 600
    assert sent[-1][1] == 600
    # never ahead of the clock; open loop
    assert all(end <= at * 2_000 + 1.001 for at, end in sent)
    assert time.perf_counter() - began >= 599 / 2_000


def test_pace_stops_when_asked() -> None:
    done: list[int] = []
    assert pace(1e6, 10**9, lambda _b, end: done.append(end), lambda: len(done) >= 3) == done[-1] < 10**9


def test_backpressure_waits_for_decisions_and_gives_up_without_any() -> None:
    decided = iter([0, 40, 60, 100])
    Backpressure(lambda: next(decided), 50, patience_s=5).wait(100, lambda: False, lambda: None)
    assert next(decided) == 100
    with pytest.raises(SendError, match="no transaction was decided"):
        Backpressure(lambda: 0, 50, patience_s=0.05).wait(100, lambda: False, lambda: None)


def test_blocks_hold_the_run_exactly_and_the_same_again() -> None:
    world = create_world(3, 80)
    run = Run(rate=1_000, seconds=2.5, seed=3, cards=80, scale=1_000)
    start = epoch_ms(NOW)
    made = list(blocks(run, world, start, "abc"))
    values = [value for block in made for value in block.values]
    assert len(values) == run.total == 2_500
    assert values == [value for block in blocks(run, world, start, "abc") for value in block.values]
    times = [parse_transaction(value).event_ms for value in values]
    assert times == sorted(times) and start <= times[0] and times[-1] < start + 2_500_000
    live = next(blocks(Run(rate=1_000, seconds=2.5, seed=3, cards=80), world, start, "abc"))
    assert parse_transaction(LIVE_HEAD + b"2026-11-20T00:00:00Z" + live.values[0]).transaction_id == "abcbb-0"


def test_scaled_runs_end_now_or_follow_each_other() -> None:
    run = Run(rate=10, seconds=2, scale=100)
    assert run.span_ms(1_000_000) == (800_000, 1_000_000)
    assert Run(rate=10, seconds=2, scale=100, start_ms=5_000).span_ms(1_000_000) == (5_000, 205_000)
    assert Run(rate=10, seconds=2).span_ms(1_000_000) == (1_000_000, 1_002_000)
    with pytest.raises(ValueError, match="needs a scale"):
        Run(rate=10, seconds=2, start_ms=5_000)


def test_natural_scale_lets_cards_pay_as_often_as_they_do() -> None:
    world = create_world(3, 500)
    scale = natural_scale(100, world)
    assert 100 / scale == pytest.approx(world.payments_per_second)
    assert 500 * 1.4 < world.payments_per_second * 86_400 < 500 * 2.2


def test_blocks_made_ahead_arrive_in_order_and_their_errors_too() -> None:
    assert list(ahead(iter("abcdefgh"), depth=2)) == list("abcdefgh")  # type: ignore[arg-type]

    def broken():
        yield "a"
        raise RuntimeError("out of cards")

    with pytest.raises(RuntimeError, match="out of cards"):
        list(ahead(broken(), depth=2))


def test_labels_are_due_once_and_only_within_the_run() -> None:
    times = pa.array([10, 30, 20, None, 99], pa.timestamp("ms", tz="UTC"))
    table = pa.table({"transaction_id": list("abcde"), "label_time": times})
    due = DueLabels()
    due.add(table, end_ms=50)
    assert due.until(5) is None
    assert due.until(20)["transaction_id"].to_pylist() == ["a", "c"]
    assert due.until(49)["transaction_id"].to_pylist() == ["b"]
    assert due.until(1_000) is None


def test_labels_of_a_live_run_follow_their_transactions() -> None:
    table = pa.table(
        {
            "transaction_id": list("abcdef"),
            "label": ["fraud", None, "legit", None, "fraud", None],
            "event_time": pa.array([0] * 6, pa.timestamp("ms", tz="UTC")),
            "label_time": pa.array([9] * 6, pa.timestamp("ms", tz="UTC")),
        }
    )
    aged = AgedLabels(5.0)
    aged.add(table)
    aged.sent(0, 2, 1_000)
    aged.sent(2, 5, 1_010)
    # the rest of the block is sent, and then the next one
    aged.sent(5, 6, 1_020)
    aged.add(table)
    aged.sent(0, 1, 1_030)
    assert aged.until(5_999) is None
    given = aged.until(6_010)
    assert given["transaction_id"].to_pylist() == ["a", "c", "e"]
    assert given["event_time"].cast(pa.int64()).to_pylist() == [1_000, 1_010, 1_010]
    assert given["label_time"].cast(pa.int64()).to_pylist() == [6_010] * 3
    assert aged.until(9_999)["transaction_id"].to_pylist() == ["a"]
    assert aged.until(9_999) is None


class Log:
    """Stands for the sender and the measuring process: keeps what is sent, and says which transactions were declined.

    Each call of ``take_declined`` tells of the transactions sent before the last call: a decision takes a moment.
    """

    def __init__(self, declines: Callable[[str], bool] = lambda _name: False) -> None:
        self.sent: dict[str, list[bytes]] = {TRANSACTIONS: [], LABELS: []}
        self._declines, self._told, self._seen = declines, 0, 0

    @property
    def progress(self) -> Progress:
        return Progress(len(self.sent[TRANSACTIONS]), self._told, 0, 0)

    def send_all(self, topic: str, keys: list[bytes | None], values: list[bytes]) -> None:
        assert len(keys) == len(values)
        self.sent[topic] += values

    def check(self) -> None:
        pass

    def take_declined(self) -> dict[str, bool]:
        named = [
            parse_transaction(value).transaction_id
            for value in self.sent[TRANSACTIONS][self._told : self._seen]
        ]
        self._told, self._seen = self._seen, len(self.sent[TRANSACTIONS])
        return {name: self._declines(name) for name in named}


def sent_by(run: Run, log: Log) -> Sent:
    sent, start_ms = Sent(), epoch_ms(NOW)
    source = blocks(run, create_world(3, 80), start_ms, "abc")
    _send_paced(
        run, log, sent, next(source), source, log,  # type: ignore[arg-type]
        lambda: False, lambda _sent, _measurement: None, lambda _block: None, run.span_ms(start_ms)[1],
    )  # fmt: skip
    return sent


def test_a_live_run_sends_labels_of_what_it_sent_before() -> None:
    run, log = Run(rate=4_000, seconds=0.5, seed=3, cards=80, labels_after_s=0), Log()
    sent = sent_by(run, log)
    paid = {one.transaction_id: one for one in map(parse_transaction, log.sent[TRANSACTIONS])}
    labels = [parse_label(value) for value in log.sent[LABELS]]
    assert len(paid) == run.total and 0 < len(labels) == sent.labels
    assert len({label.transaction_id for label in labels}) == len(labels)
    for label in labels:
        # a label of another moment would count for other windows than its transaction
        assert label.event_time == paid[label.transaction_id].event_time <= label.label_time
        assert label.card_id == paid[label.transaction_id].card_id


@pytest.mark.parametrize(
    "how", [{"labels_after_s": 0}, {"scale": 1e6, "start_ms": epoch_ms(NOW)}], ids=["live", "scaled"]
)
def test_nobody_says_what_a_declined_payment_was(how: dict[str, Any]) -> None:
    run = Run(rate=4_000, seconds=0.5, seed=3, cards=80, **how)
    everything, declining = Log(), Log(lambda name: name.endswith(("1", "3", "5", "7", "9")))
    told = [
        {parse_label(value).transaction_id for value in log.sent[LABELS]}
        for log in (everything, declining) if sent_by(run, log).labels
    ]  # fmt: skip
    odd = {name for name in told[0] if int(name[-1]) % 2}
    assert odd and told[1] == told[0] - odd


def test_a_label_waits_for_its_decision() -> None:
    held, table = LabelsOfDecided(), pa.table({"transaction_id": ["a", "b", "c"]})
    held.expect(table)
    assert held.release(table.slice(0, 2)) is None and held.waiting == 2
    held.decided({"b": False, "c": True, "unlabelled": False})
    assert held.release(None)["transaction_id"].to_pylist() == ["b"]
    held.decided({"a": False})
    assert held.release(table.slice(2))["transaction_id"].to_pylist() == ["a"]
    assert held.waiting == 0 and held.release(None) is None


def test_the_measuring_process_says_who_was_declined_only_when_asked() -> None:
    def record(topic: str, name: str, decision: str) -> FakeRecord:
        return FakeRecord(topic, json.dumps({"transaction_id": name, "decision": decision}).encode())

    records = [
        record("decisions", "abcbb-1", "decline"), record("decisions", "abcbb-2", "review"), record("decisions", "other-1", "decline"),
        record("transactions", "abcbb-3", "decline"), FakeRecord("decisions", b"{"), FakeRecord("decisions", None),
    ]  # fmt: skip
    asked, not_asked = (Declined(Begin("", None, {}, "abc", tell_declined=tell)) for tell in (True, False))
    for one in (asked, not_asked):
        one.add(records)
    assert (asked.take(), asked.take(), not_asked.take()) == ({"abcbb-1": True, "abcbb-2": False}, {}, {})


class FakeRecord(NamedTuple):
    """The parts of a Kafka message that are read here."""

    name: str
    raw: bytes | None

    def topic(self) -> str:
        return self.name

    def value(self) -> bytes | None:
        return self.raw


def test_as_many_labels_are_told_live_as_in_life() -> None:
    run = Run(rate=10_000, seconds=2, seed=3, cards=500)
    (block,) = blocks(run, create_world(3, 500), epoch_ms(NOW), "abc")
    aged = AgedLabels(0)
    aged.add(block.table)
    aged.sent(0, run.total, 0)
    # nine tenths of the fraud, a tenth of the rest
    assert len(aged.until(0)) == pytest.approx(run.total * (0.9 * 0.008 + 0.1 * 0.992), rel=0.1)


def test_cpu_counts_each_process_and_a_restarted_one_anew() -> None:
    before = [{"name": "kafka", "pid": 1, "cpu_s": 10.0}, {"name": "processor-0", "pid": 2, "cpu_s": 50.0}]
    after = [{"name": "kafka", "pid": 1, "cpu_s": 10.5}, {"name": "processor-0", "pid": 9, "cpu_s": 0.25}]
    assert cpu_us_per_transaction(before, after, 10_000) == {
        "total": 75.0, "by_process": {"kafka": 50.0, "processor-0": 25.0},
    }  # fmt: skip
    assert cpu_us_per_transaction([], [], 10)["total"] is None


def test_runs_that_cannot_be_are_refused() -> None:
    for bad in (
        {"rate": 0}, {"rate": 1, "seconds": 0.1}, {"rate": 1, "seconds": 1, "scale": -1},
        {"rate": 1, "scale": 10, "labels_after_s": 5}, {"rate": 1, "labels_after_s": -1},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            Run(**{"seconds": 1, **bad})
    run = Run(rate=10, seconds=1, drifts=(Switch("weather", 0),))
    with pytest.raises(ValueError, match="drift must be one of"):
        next(blocks(run, create_world(1, 10), epoch_ms(NOW), "a"))


def test_scoreboard_holds_decisions_against_the_truth() -> None:
    board = Scoreboard()
    kinds = [None, None, "bust_out", "bust_out", "stolen_card"]
    board.known(pa.table({"transaction_id": list("abcde"), "fraud_kind": pa.array(kinds, pa.string())}))
    for name, decision in zip("abcde", ("approve", "review", "decline", "approve", "review"), strict=True):
        raw = json.dumps({"transaction_id": name, "decision": decision, "status": "scored"}).encode()
        board.decided(raw, 4.0, now=100.0)
        board.decided(raw, 4.0, now=100.0)  # a repeat, and decisions about others, do not count
    board.decided(b'{"transaction_id": "z", "decision": "approve", "status": "scored"}', 1.0, now=100.0)
    assert (board.total, board.honest, board.false_alarms) == (5, 2, 1)
    assert board.fraud == {"bust_out": 2, "stolen_card": 1} and board.caught.total() == 2
    assert board.recent(101.0) == (1.0, 4.0, 4.0) and board.recent(200.0)[1] is None
    board.drifted(_row("amount", "warning"))
    board.drifted(_row("hour", "none"))
    assert drift(board) == "1 of 2 features (amount)"
    assert "fraud stopped 2 of 3" in line(board, 6, 10, 101.0)
    assert any(text.startswith("bust out") and text.split()[-2:] == ["2", "1"] for text in truth(board))


def test_summary_for_people_and_its_verdict() -> None:
    report = {
        "produced": 10, "decided": {"scored": 9, "degraded": 0, "not_scored": 0}, "dead_lettered": 0, "missing": 1,
        "duplicated": 0, "repeats": 4, "latency_ms": dict.fromkeys(("p50", "p99", "p999", "max"), None),
        "cpu_us_per_transaction": {"total": None, "by_process": {}},
    }  # fmt: skip
    assert not complete(report) and complete({**report, "missing": 0})
    shown = {text.split()[0]: text.split()[-1] for text in lines(report, 1.0)}
    assert (shown["missing"], shown["repeats"]) == ("1", "4")


def _row(feature: str, severity: str) -> DriftRow:
    return DriftRow(
        detector="ks", feature=feature, window_start=NOW, window_end=NOW, rows=100, statistic=0.1, p_value=0.5, psi=0.1,
        severity=severity, model_version="1.0.0", bundle_reference="",
    )  # type: ignore[arg-type]  # fmt: skip
