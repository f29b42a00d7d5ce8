"""Sends requests at a fixed rate and prints their outcome: ``python -m loadtest.bench.http_load.offer --url U --rate R``.

Open loop: requests are due at fixed times, however slow the answers are, and latency counts from the due time. A generator that waits
for answers would send less to a slow edge and never see its queue (coordinated omission). ``--rate 0`` is the closed loop: every
connection sends its next request at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlparse

import numpy as np
import uvloop

from loadtest.bench.http_load.bodies import requests
from loadtest.bench.http_load.connections import Pool
from streams.contracts.deadline import DEFAULT_DEADLINE_MS

TICK_S = 0.001
#: after the last request: so long for the answers that are still out
DRAIN_S = 5.0
CLOSED_RATE_GUESS = 8_000


@dataclass(frozen=True)
class Offer:
    """What to offer. ``batch``: transactions a request."""

    url: str
    rate: float
    seconds: float
    batch: int = 1
    connections: int = 512
    deadline_ms: int = DEFAULT_DEADLINE_MS
    seed: int = 7
    #: tell of each answer
    each: bool = False


@dataclass
class Outcome:
    """Outcome of an offer. Rates in requests a second; latencies in ms from a request's due time."""

    offered: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    #: decisions by status, or errors by reason, of every `every`-th answer that was looked into
    looked_into: dict[str, int] = field(default_factory=dict)
    ok_rate: float = 0.0
    ok_ms: dict[str, float] = field(default_factory=dict)
    #: of all that were let in, decided or not; of those that were turned away at once
    accepted_ms: dict[str, float] = field(default_factory=dict)
    refused_ms: dict[str, float] = field(default_factory=dict)
    #: let in and not decided: their callers waited for nothing
    given_up: int = 0
    unanswered: int = 0
    generator_cpu_s: float = 0.0
    #: of each answer when it was due (ms since 1970), ms it took, status, model and policy that decided; only where it was asked for
    each: list[tuple[float, float, int, str, str]] = field(default_factory=list)


LOOK_EVERY = 16
#: reasons of a 503 that comes before anything was done for the request; what else is no decision was let in first
_AT_ONCE = (b'"reason":"overloaded"', b'"reason":"not_ready"')


class _Run:
    def __init__(self, offer: Offer, all_requests: list[bytes]) -> None:
        url = urlparse(offer.url)
        self._offer, self._requests = offer, all_requests
        self._pool = Pool(url.hostname or "127.0.0.1", url.port or 80, offer.connections, self._answered)
        self._statuses: Counter[str] = Counter()
        self._looked: Counter[str] = Counter()
        self._ok: list[float] = []
        self._given_up: list[float] = []
        self._refused: list[float] = []
        self._sent = 0
        self._stopped = False
        self._each: list[tuple[float, float, int, bytes]] = []
        self._since_1970_s = time.time() - time.perf_counter()

    async def go(self) -> Outcome:
        await self._pool.open(min(self._offer.connections, 64 if self._offer.rate else 1000))
        began_s, cpu_s = time.perf_counter(), time.process_time()
        if self._offer.rate:
            await self._open_loop(began_s)
        else:
            await self._closed_loop(began_s)
        took_s = time.perf_counter() - began_s
        in_time = len(self._ok)
        await self._drain()
        used_s = time.process_time() - cpu_s
        self._pool.close()
        return Outcome(
            offered=self._sent,
            statuses=dict(self._statuses),
            looked_into=dict(self._looked),
            ok_rate=in_time / took_s,
            ok_ms=_points(self._ok),
            accepted_ms=_points(self._ok + self._given_up),
            refused_ms=_points(self._refused),
            given_up=len(self._given_up),
            unanswered=self._sent - sum(self._statuses.values()),
            generator_cpu_s=used_s,
            each=[
                (due_ms, took_ms, status, *_versions(body)) for due_ms, took_ms, status, body in self._each
            ],
        )

    async def _open_loop(self, began_s: float) -> None:
        rate, total = self._offer.rate, len(self._requests)
        while self._sent < total:
            now_s = time.perf_counter()
            due = min(total, int((now_s - began_s) * rate) + 1)
            for number in range(self._sent, due):
                self._pool.send(self._requests[number], number, began_s + number / rate)
            self._sent = due
            await asyncio.sleep(TICK_S)

    async def _closed_loop(self, began_s: float) -> None:
        for _ in range(self._offer.connections):
            self._next()
        while time.perf_counter() - began_s < self._offer.seconds and self._sent < len(self._requests):
            await asyncio.sleep(0.01)
        self._stopped = True

    def _next(self) -> None:
        if not self._stopped and self._sent < len(self._requests):
            self._pool.send(self._requests[self._sent], self._sent, time.perf_counter())
            self._sent += 1

    def _answered(self, status: int, body: bytes, number: int, due_s: float) -> None:
        took_ms = (time.perf_counter() - due_s) * 1000
        self._statuses[str(status)] += 1
        kind = self._ok if status == 200 else self._refused if _at_once(status, body) else self._given_up
        kind.append(took_ms)
        if self._offer.each:
            self._each.append(((due_s + self._since_1970_s) * 1000, took_ms, status, body))
        if number % LOOK_EVERY == 0 or status not in (200, 503):
            self._looked.update(_words(status, body))
        if not self._offer.rate:
            self._next()

    async def _drain(self) -> None:
        until_s = time.perf_counter() + DRAIN_S
        while sum(self._statuses.values()) < self._sent and time.perf_counter() < until_s:
            await asyncio.sleep(0.01)


def _at_once(status: int, body: bytes) -> bool:
    return status == 429 or (status == 503 and any(reason in body for reason in _AT_ONCE))


def _words(status: int, body: bytes) -> list[str]:
    """What an answer's decisions or problem say, as short words."""
    try:
        told = json.loads(body)
    except ValueError:
        return [f"{status} not JSON"]
    items = told.get("decisions", [told])
    return [
        f"{item['error']['status']} {item['error']['reason']}" if "error" in item
        else item.get("status", item["decision"]) if "decision" in item
        else f"{status} {item.get('reason', item.get('title', ''))}"
        for item in items
    ]  # fmt: skip


def _versions(body: bytes) -> tuple[str, str]:
    """Model and policy of a single decision; empty where the answer is none."""
    try:
        told = json.loads(body)
    except ValueError:
        return "", ""
    return told.get("model_version") or "", told.get("policy_version") or ""


def _points(latencies_ms: list[float]) -> dict[str, float]:
    if not latencies_ms:
        return {}
    values = np.percentile(latencies_ms, [50, 99, 99.9, 100])
    return {name: round(float(v), 2) for name, v in zip(("p50", "p99", "p999", "max"), values, strict=True)}


def offer_load(offer: Offer) -> Outcome:
    """Make the requests, send them, wait for outstanding answers."""
    count = int((offer.rate or CLOSED_RATE_GUESS / offer.batch) * offer.seconds)
    made = list(
        requests(urlparse(offer.url).netloc, max(1, count), offer.batch, offer.deadline_ms, offer.seed)
    )
    return uvloop.run(_Run(offer, made).go())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second; 0: closed loop")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--deadline-ms", type=int, default=DEFAULT_DEADLINE_MS)
    parser.add_argument("--each", action="store_true", help="tell of each answer")
    args: dict[str, Any] = vars(parser.parse_args())
    print(json.dumps(asdict(offer_load(Offer(**args)))))


if __name__ == "__main__":
    main()
