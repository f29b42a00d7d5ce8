"""Ratios to a bare pipe and to Kafka Streams: the pipe's loop, turns, arithmetic, and peers that fail. No broker."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from features.catalogue import INDEX
from loadtest.bench import ratio as bench_ratio
from loadtest.bench.ratio import KNOWN, PEERS, compared
from loadtest.bench.state import memory_row
from loadtest.bench.stream import Runs
from loadtest.peers.bare_pipe import id_of, parts_around_id, pipe
from loadtest.peers.installing import PeerError
from tests.support.stream_runs import summary


class Record:
    def __init__(self, number: int) -> None:
        self._number = number

    def key(self) -> bytes:
        return f"card-{self._number}".encode()

    def value(self) -> bytes:
        return json.dumps(
            {"event_time": "now", "transaction_id": f"tx-{self._number}"}, separators=(",", ":")
        ).encode()


class Broker:
    """Consumer and producer at once; asks to stop when all is read."""

    def __init__(self, records: int) -> None:
        self.left = [Record(number) for number in range(records)]
        self.made: list[tuple[str, bytes, bytes]] = []
        self.stop, self.commits = threading.Event(), 0

    def consume(self, most: int, timeout: float) -> list[Record]:
        given, self.left = self.left[:2], self.left[2:]
        if not self.left:
            self.stop.set()
        assert most >= len(given) and timeout < 0.1
        return given

    def produce(self, topic: str, value: bytes, key: bytes) -> None:
        self.made.append((topic, value, key))

    def poll(self, _timeout: float) -> int:
        return 0

    def commit(self, *, asynchronous: bool) -> None:
        self.commits += asynchronous


def decision(number: int, text: str) -> bytes:
    told = {"status": "scored", "transaction_id": f"old-{number}", "text": text}
    return json.dumps(told, separators=(",", ":")).encode()


def test_the_pipe_answers_each_transaction_with_a_decision_of_the_usual_size() -> None:
    broker = Broker(5)
    shapes = [decision(1, "short"), decision(2, "a longer one")]
    assert pipe(broker, broker, shapes, broker.stop) == 5
    decided = [json.loads(value) for _, value, _ in broker.made]
    assert [one["transaction_id"] for one in decided] == [f"tx-{number}" for number in range(5)]
    assert [one["text"] for one in decided] == ["short", "a longer one"] * 2 + ["short"]
    assert {topic for topic, _, _ in broker.made} == {"decisions"}
    assert [key for _, _, key in broker.made] == [f"card-{number}".encode() for number in range(5)]


def test_what_has_no_id_is_no_transaction() -> None:
    assert parts_around_id(b'{"transaction_id":"a","b":1}') == (b'{"transaction_id":"', b'","b":1}')
    assert id_of(b'{"x":"y","transaction_id":"tx-1"}') == b"tx-1"
    with pytest.raises(ValueError):
        id_of(b"{}")


def runs(*cpu_us: float, missing: int = 0) -> Runs:
    told = [summary(8, 15, missing) for _ in cpu_us]
    for one, us in zip(told, cpu_us, strict=True):
        one["cpu_us_per_transaction"] = {"total": us, "by_process": {"kafka": us}}
    return Runs(10_000, told)


def test_ratios_are_taken_between_runs_that_followed_each_other() -> None:
    found = {
        "": runs(100.0, 200.0, 150.0),
        "bare": runs(25.0, 40.0, 50.0),
        "streams": runs(50.0, 100.0, 300.0),
    }
    rows = {row.what: row for row in compared(found, 10_000, 60)}
    bare = rows["ratio at 10,000/s: our CPU / bare pipe"]
    assert list(bare.runs) == [4.0, 5.0, 3.0]
    assert (bare.middle, bare.at_least, bare.then, bare.reached, bare.factor) == (
        4.0,
        "4.5",
        "3",
        "at least",
        "4.0 x",
    )
    assert bare.where == "ours: kafka 150"
    streams = rows["ratio at 10,000/s: our CPU / Kafka Streams + ONNX"]
    assert streams.middle == 2.0 and streams.reached == "" and streams.at_least == "stated"
    assert (
        "no reasons, archive, labels or drift"
        in rows["Kafka Streams + ONNX, 10,000/s for 60 s: CPU, all processes"].note
    )
    assert rows["bare pipe, 10,000/s for 60 s: p99"].middle == 15
    assert "ours, in turn with them, 10,000/s for 60 s: p50" in rows


def test_a_peer_that_loses_something_says_so() -> None:
    rows = list(compared({"": runs(100.0), "bare": runs(25.0, missing=7)}, 10_000, 60))
    assert any("missing or doubled 7" in row.note for row in rows)


def test_a_peer_that_is_absent_or_fails_leaves_the_others() -> None:
    asked: list[str] = []

    def offer(name: str, fails: bool = False) -> Any:
        def run(_seconds: float) -> dict[str, object]:
            asked.append(name)
            if fails:
                raise PeerError("it ended")
            return summary(8, 15)

        return run

    found = {name: Runs(10_000) for name in ("", "bare", "streams")}
    offers = {"": offer("ours"), "bare": offer("bare"), "streams": offer("streams", fails=True)}
    for _ in range(2):
        bench_ratio._take_turns(offers, found, 60)
    # in turn, and what has failed is not asked again
    assert asked == ["ours", "bare", "streams", "ours", "bare"]
    rows = {row.what: row for row in compared(found, 10_000, 60)}
    assert len(rows["ratio at 10,000/s: our CPU / bare pipe"].runs) == 2
    failed = rows["ratio at 10,000/s: our CPU / Kafka Streams + ONNX"]
    assert failed.note == "not measured: it ended" and not failed.runs


def test_peers_have_their_targets_and_what_they_know_is_in_the_catalogue() -> None:
    targets = {name: (peer.at_least, peer.then) for name, peer in PEERS.items()}
    assert targets == {"bare": ("4.5", "3"), "streams": ("stated", "1.5"), "streams-exact": ("stated", "1.5")}
    assert len(KNOWN) == 9 and set(KNOWN) <= set(INDEX)


def test_memory_is_scaled_to_a_million_cards() -> None:
    row = memory_row(42e6, 20_000, "20,000 cards")
    assert row.middle == pytest.approx(2.1) and row.unit == "GB" and "20,000 cards" in row.note
