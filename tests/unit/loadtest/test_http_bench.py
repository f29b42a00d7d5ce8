"""The generator of HTTP load against a server that answers as it is told, and what the tables make of it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest

from loadtest.bench import http as bench_http
from loadtest.bench.http_load import measuring
from loadtest.bench.http_load.connections import Pool
from loadtest.bench.http_load.measuring import run_offer
from loadtest.bench.http_load.offer import Offer, Outcome, _Run, offer_load
from loadtest.bench.models.swap import BenchError, http_lines
from streams.runtime.settings import Settings

Answer = tuple[int, dict[str, Any]]
DECIDED = (200, {"decision": "approve", "status": "scored", "model_version": "1.0.0", "policy_version": "1"})


def problem(reason: str) -> Answer:
    return 503, {"status": 503, "reason": reason, "title": "Service unavailable"}


@contextmanager
def serving(answer: Callable[[], Answer]) -> Iterator[str]:
    """A server on a free port whose every request is answered by ``answer``."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    address: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                status, told = answer()
                body = json.dumps(told, separators=(",", ":")).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run(stop: asyncio.Event) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        started.set()
        async with server:
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(stop),))
    thread.start()
    try:
        assert started.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def answering(*answers: Answer) -> Callable[[], Answer]:
    """These in turn."""
    turn = cycle(answers)
    return lambda: next(turn)


def test_each_answer_can_be_told_with_its_version() -> None:
    with serving(answering(DECIDED, problem("overloaded"))) as url:
        outcome = run_offer(Offer(url, 200, 0.5, connections=2, each=True))
        assert offer_load(Offer(url, 200, 0.1, connections=2)).each == []
    assert outcome.offered == len(outcome.each) == 100
    assert outcome.statuses == {"200": 50, "503": 50}
    told = {tuple(one[2:]) for one in outcome.each}
    assert told == {(200, "1.0.0", "1"), (503, "", "")}
    due_ms = [one[0] for one in outcome.each]
    # as the clock of the other processes has it, 5 ms apart
    assert max(due_ms) - min(due_ms) == pytest.approx(99 * 5, abs=1)


ASKED_MS, NEW_MS = 1_000_000_000_000, 1_000_000_002_000


def swapped(*others: tuple[float, float, int, str, str]) -> Outcome:
    """Ten seconds of an answer each 10 ms, after 5 ms; in the second around the swap after 15."""
    each: list[tuple[float, float, int, str, str]] = []
    for due_ms in range(ASKED_MS - 6_000, ASKED_MS + 4_000, 10):
        version = ("1.1.0", "1.1.0") if due_ms >= NEW_MS else ("1.0.0", "1")
        each.append((due_ms, 15.0 if abs(due_ms - NEW_MS) <= 1_000 else 5.0, 200, *version))
    each += others
    decided = sum(one[2] == 200 for one in each)
    return Outcome(offered=len(each), statuses={"200": decided, "503": len(each) - decided}, each=each)


POLICIES = {"1.0.0": "1", "1.1.0": "1.1.0"}


def test_a_swap_beside_requests_by_their_answers() -> None:
    bump, others, mixed = http_lines(100, swapped(), ASKED_MS, "1.1.0", POLICIES)
    assert bump.runs == [10.0] and (bump.at_least, bump.then) == ("20", "0")
    assert (others.runs, mixed.runs) == ([0], [0])
    assert mixed.note == "800 by 1.0.0 with policy 1, 200 by 1.1.0 with policy 1.1.0"


def test_refusals_and_mixtures_at_a_swap_are_counted() -> None:
    bad = [(NEW_MS + 5.0, 90.0, 503, "", ""), (NEW_MS + 6.0, 5.0, 200, "1.1.0", "1")]
    outcome = swapped(*bad)
    outcome.offered += 1  # and one without any answer
    outcome.looked_into = {"overloaded": 1}
    _, others, mixed = http_lines(100, outcome, ASKED_MS, "1.1.0", POLICIES)
    assert (others.runs, mixed.runs) == ([2], [1])
    assert "1 of the others within 1 s of the swap; sampled: overloaded 1" in others.note


def test_a_swap_that_no_answer_shows_is_an_error() -> None:
    with pytest.raises(BenchError, match=r"no answer by 1\.2\.0"):
        http_lines(100, swapped(), ASKED_MS, "1.2.0", POLICIES)


def test_who_was_let_in_counts_among_the_accepted() -> None:
    answers = [
        DECIDED,
        problem("overloaded"),
        problem("deadline"),
        problem("unacknowledged"),
        problem("not_ready"),
    ]
    with serving(answering(*answers)) as url:
        outcome = offer_load(Offer(url, 500, 0.1, connections=1))
    assert outcome.statuses == {"200": 10, "503": 40} and outcome.given_up == 20
    assert set(outcome.ok_ms) == set(outcome.accepted_ms) == set(outcome.refused_ms) != set()


def test_the_wait_of_who_was_given_up_is_in_the_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(Offer("http://127.0.0.1:1", 1, 1), [])
    now_s = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    for status, reason, took_ms in (
        (200, "", 10), (503, "deadline", 110), (503, "overloaded", 1), (429, "quota", 2), (500, "internal", 60), (0, "", 70),
    ):  # fmt: skip
        run._answered(status, b'{"reason":"%s"}' % reason.encode(), 1, now_s - took_ms / 1000)
    assert [round(ms) for ms in run._ok] == [10]
    assert [round(ms) for ms in run._given_up] == [110, 60, 70]
    assert [round(ms) for ms in run._refused] == [1, 2]


class Edge:
    """Decides up to its capacity, and beyond it less and less; p99 is bearable up to nine tenths of it."""

    def __init__(self, capacity: float) -> None:
        self.capacity, self.rates = capacity, []  # type: tuple[float, list[float]]

    def __call__(self, offer: Offer) -> Outcome:
        rate = offer.rate or 0.5 * self.capacity
        self.rates.append(rate)
        ok_rate = min(rate, self.capacity - 0.05 * max(0.0, rate - self.capacity))
        ok = round(ok_rate * offer.seconds)
        p99 = {"p99": 20.0 if rate <= 0.9 * self.capacity else 80.0}
        return Outcome(
            offered=round(rate * offer.seconds), statuses={"200": ok}, ok_rate=ok_rate, ok_ms=p99,
            accepted_ms={"p99": 90.0}, refused_ms={"p99": 3.0}, given_up=7,
        )  # fmt: skip


def test_twice_the_capacity_is_twice_what_the_ladder_found(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge(4_000)
    monkeypatch.setattr(measuring, "run_offer", edge)
    monkeypatch.setattr(bench_http, "run_offer", edge)
    size, settings = bench_http.Size(2, 5.0), Settings(home="x")
    closed = bench_http._closed(settings.http, size)
    # a few connections in turn ask for half of what it can take
    assert closed.ok_rate == 2_000
    rows = list(bench_http._open_rows(settings, size, closed.ok_rate, ["overload"]))
    climbed = [share * 2_000 for share in measuring.LADDER if share <= 2.3]
    assert edge.rates[1:] == [*climbed, 8_000] * 2
    accepted, goodput, refused = rows
    assert (accepted.runs, accepted.at_least) == ([90.0, 90.0], "100")
    assert "peak 4,000, 4,000/s; let in and not decided 14" in accepted.note
    assert goodput.runs == [95.0, 95.0] and refused.runs == [3.0, 3.0]


def test_what_is_borne_ends_below_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "run_offer", Edge(4_000))
    found = measuring.climb(Offer("http://x", 0, 5.0), 2_000)
    assert found.borne is not None and found.borne.ok_rate == 3_600
    assert (found.peak, found.over) == (4_000, True)
    # more than the ladder reaches: said, not taken for the capacity
    assert not measuring.climb(Offer("http://x", 0, 5.0), 500).over
    monkeypatch.setattr(measuring, "run_offer", Edge(100))
    assert measuring.climb(Offer("http://x", 0, 5.0), 2_000).borne is None


def test_without_a_decision_nothing_is_offered_twice() -> None:
    (row,) = bench_http._open_rows(Settings(home="x"), bench_http.Size(), 0.0, ["single", "overload"])
    assert not row.runs and "no decision" in row.note


def test_what_is_said_to_an_idle_connection_is_nobodys_answer() -> None:
    """HAProxy closes one on which nothing came for 20 s with a 408; the next request goes elsewhere."""
    told: list[int] = []

    async def go() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal met
            met += 1
            if met == 1:
                writer.write(b"HTTP/1.1 408 Request Time-out\r\ncontent-length: 0\r\n\r\n")
            else:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        met, answered = 0, asyncio.Event()

        def note(status: int, _body: bytes, _number: int, _due_s: float) -> None:
            told.append(status)
            answered.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], 2, note)
            await pool.open(1)
            while pool.connected:
                await asyncio.sleep(0)
            pool.send(b"GET / HTTP/1.1\r\n\r\n", 0, 0.0)
            await asyncio.wait_for(answered.wait(), 30)
            pool.close()

    asyncio.run(go())
    assert told == [200]
