"""Transactions of careless producers, by Kafka and over HTTP: each ends in a decision, a dead letter or an answer that says why."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from streams.log.topics import TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_reporting_producer
from streams.runtime.settings import Settings
from tests.attack.attacker import edge_headers, writer
from tests.attack.poison import pids
from tests.attack.registry import Finding, attack
from tests.support.fuzzed_transactions import fuzzed
from tests.support.running import run_cli

#: half by Kafka, half over HTTP; ``make fuzz-transactions COUNT=200000`` sends more
COUNT = int(os.environ.get("FUZZED_TRANSACTIONS", "2000"))
CLIENTS = 8
BATCH = 20
DEADLINE_MS = 5000
HEADERS = {"content-type": "application/json", "x-deadline-ms": str(DEADLINE_MS)}
#: twice the deadline, which every answer keeps, refusals too
ANSWERED_WITHIN_S = 10.0
#: an edge that is overloaded says so; within this time it must take what it refused
TAKEN_WITHIN_S = 120.0


@attack("transactions of careless producers", by_the_books=True)
def careless_transactions(settings: Settings) -> Finding:
    """Fuzzed transactions on every way in: none is lost, none is decided twice, nothing ends and nothing fails without a reason."""
    before, processes = _books(settings, "60"), pids(settings)
    now, run = datetime.now(UTC), f"fz{time.time_ns():x}"
    half = COUNT // 2
    _by_kafka(settings, half, now, f"{run}k")
    answers, headers = _Answers(), HEADERS | edge_headers(settings)
    items = fuzzed(half, half, now=now, prefix=f"{run}h")
    with ThreadPoolExecutor(CLIENTS) as clients:
        done: list[Future[None]] = []
        while some := list(islice(items, BATCH)):
            # a quarter goes in batches
            done.append(clients.submit(_over_http, settings.http, headers, some, answers, len(done) % 4 == 0))
    for one in done:
        one.result()
    after = _books(settings, "180")
    arrived = sum(after[name] - before[name] for name in ("ingested", "repeated"))
    wrong = [*answers.wrong]
    if arrived != half + len(answers.decided):
        wrong.append(
            f"{half:,} by Kafka and {len(answers.decided):,} over HTTP, but {arrived:,} in the books"
        )
    # what other attacks left behind is not of these
    wrong += [f"{after[name] - before[name]:,} more {name}" for name in ("in_flight", "duplicated", "unknown") if after[name] != before[name]]  # fmt: skip
    wrong += [f"{name} ended" for name, pid in pids(settings).items() if processes.get(name) != pid]
    dead = after["dead_lettered"] - before["dead_lettered"]
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in answers.kinds.most_common())
    text = f"{half:,} by Kafka: {dead:,} dead letters in all; {answers.kinds.total():,} over HTTP: {kinds}"
    return Finding(not wrong, "; ".join([*wrong[:5], text]))


def _books(settings: Settings, wait_s: str) -> dict[str, Any]:
    """The books, as soon as they balance, and after ``wait_s`` as they are."""
    done = run_cli(settings, "reconcile", "--wait", wait_s, "--json", timeout_s=300)
    assert done.stdout, f"reconcile ended with {done.returncode}: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _by_kafka(settings: Settings, count: int, now: datetime, prefix: str) -> None:
    producer = new_reporting_producer(writer(settings, TRANSACTIONS.name), "careless")
    for number, value in enumerate(fuzzed(count, now=now, prefix=prefix)):
        # what is misplaced is forwarded
        producer.produce(TRANSACTIONS.name, value=value, partition=number % settings.partitions)
        if number % 1_000 == 0:
            flush(producer, 60)
    flush(producer, 60)


class _Answers:
    """What the edge said, of all clients."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []
        #: tenant and id of what was decided: the same again is the same decision
        self.decided: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def add(self, status: int, item: Any, sent: bytes) -> None:
        with self._lock:
            if status == 200 and "decision" in item:
                self.kinds["decided"] += 1
                self.decided.add((item["tenant"], item["transaction_id"]))
            elif 400 <= status < 500 and item.get("reason") and item.get("detail"):
                self.kinds[f"{status} {item['reason']}"] += 1
            else:
                self.fail(f"{status} {item} for {sent[:200]!r}")

    def fail(self, text: str) -> None:
        self.kinds["wrong"] += 1
        self.wrong.append(text)


def _over_http(
    address: str, headers: dict[str, str], values: Sequence[bytes], answers: _Answers, together: bool
) -> None:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=ANSWERED_WITHIN_S)
    bodies = [b'{"transactions":[' + b",".join(values) + b"]}"] if together else values
    for body in bodies:
        try:
            status, answer = _asked(connection, "/v1/score/batch" if together else "/v1/score", headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.fail(f"{type(error).__name__}: {error} for {len(body):,} bytes: {body[:200]!r}")
            connection.close()
            continue
        for item in answer.get("decisions", [answer]):
            refused = item.get("error")
            answers.add(status if refused is None else refused["status"], refused or item, body)
    connection.close()


def _sent(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], body: bytes
) -> tuple[http.client.HTTPResponse, bytes]:
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
    except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
        # the edge ends a connection on which nothing came for a while, as any client must expect; an id is decided once
        connection.close()
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
    return response, response.read()


def _asked(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, Any]:
    """The answer; where the edge is overloaded it is asked again."""
    until = time.monotonic() + TAKEN_WITHIN_S
    while True:
        response, raw = _sent(connection, path, headers, body)
        if response.status not in (429, 503) or time.monotonic() > until:
            return response.status, json.loads(raw)
        time.sleep(float(response.headers.get("retry-after", "1")))
