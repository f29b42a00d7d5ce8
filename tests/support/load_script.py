"""Every user in every shape, with a stack of fakes: run by ``test_load_shapes`` in a process of its own, which Locust changes.

``python -m tests.support.load_script``: one JSON object a line: what a run printed, and how it ended.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import locust.runners  # noqa: E402
from gevent.event import AsyncResult  # noqa: E402

from features.transaction import Transaction  # noqa: E402
from loadtest.locust import run, users  # noqa: E402
from loadtest.locust.shapes import DEFAULT_SECONDS, SECONDS, SHAPES, Shape  # noqa: E402
from loadtest.locust.users import USERS  # noqa: E402
from streams.contracts.transaction_parsing import parse_transaction  # noqa: E402
from streams.runtime.settings import Settings  # noqa: E402

#: a look of Locust at its shape takes a second; here so much
TICK_S = 0.05
TICKS = 9
#: of a call
CALL_S = 0.005
#: no figure of a busy test machine decides
PATIENT = ("--p99-ms", "60000")


class Decisions:
    """Decides what clients and producers of this process bring, at once."""

    def __init__(self, _bootstrap: str, _partitions: int, _prefix: str) -> None:
        self.seen: set[str] = set()
        self._waiting: dict[str, AsyncResult] = {}
        Client.decisions = self

    def expect(self, transaction_id: str) -> AsyncResult:
        result = self._waiting[transaction_id] = AsyncResult()
        return result

    def give_up(self, transaction_id: str) -> None:
        self._waiting.pop(transaction_id)

    def missing(self, accepted: set[str], wait_s: float) -> int:
        # what was written as the run ended is decided a moment later
        with gevent.Timeout(wait_s, False):
            while not accepted <= self.seen:
                gevent.sleep(CALL_S)
        return len(accepted - self.seen)

    def close(self) -> None:
        pass

    def decide(self, transaction_id: str) -> None:
        self.seen.add(transaction_id)
        if transaction_id in self._waiting:
            self._waiting.pop(transaction_id).set(time.perf_counter())


class Client:
    """The typed client, without a server; ``refuses`` makes every single call fail."""

    decisions: Decisions
    refuses = False

    def __init__(self, _url: str, **_: Any) -> None:
        pass

    def score(self, transaction: Transaction, _deadline_ms: int) -> None:
        gevent.sleep(CALL_S)
        if self.refuses:
            raise RuntimeError("503 overloaded")
        self.decisions.decide(transaction.transaction_id)

    def score_batch(self, transactions: list[Transaction], _deadline_ms: int) -> list[Transaction]:
        for one in transactions:
            self.decisions.decide(one.transaction_id)
        return transactions

    def decision(self, _transaction_id: str) -> None:
        pass

    def close(self) -> None:
        pass


class Producer:
    """The producer, without a broker."""

    def produce(self, _topic: str, *, key: str, value: bytes) -> None:
        transaction = parse_transaction(value)
        assert key == transaction.card_id
        gevent.spawn_later(CALL_S, Client.decisions.decide, transaction.transaction_id)

    def poll(self, _timeout: float) -> None:
        pass

    def close(self) -> None:
        pass


def tick_through(target: str, shape: str) -> dict[str, Any]:
    """A whole run's ticks of a second each, by its own table of lengths, without any user."""
    seconds = SECONDS.get(shape, DEFAULT_SECONDS)
    honest, attackers = USERS[target]
    now, made = 0.0, Shape(shape, 20, seconds, honest, attackers)
    made.get_run_time = lambda: now  # type: ignore[method-assign]
    ticks = []
    while (tick := made.tick()) is not None:
        count, _, classes = tick
        assert 1 <= count <= 20 and classes[0] is honest
        ticks.append(attackers in classes)
        now += 1.0
    return {"seconds": len(ticks), "attacked": [second for second, there in enumerate(ticks) if there]}


def run_fakes(*args: str) -> dict[str, Any]:
    """``main`` with these arguments: its exit code and what it printed."""
    ticks = iter(range(1000))
    Shape.get_run_time = lambda self: next(ticks) / TICKS * self._seconds  # type: ignore[method-assign]
    sys.argv = ["loadtest.locust", "--users", "6", "--rate", "50", *args]
    out, code = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            run.main()
        except SystemExit as ended:
            code = ended.code
    return {"code": code, "out": out.getvalue()}


def main() -> None:
    run.load_settings = lambda _home: Settings(home="nowhere")  # type: ignore[assignment]
    run.new_producer = lambda *_, **__: Producer()  # type: ignore[assignment,return-value]
    run.Decisions = Decisions  # type: ignore[misc,assignment]
    users.Client = Client  # type: ignore[misc,assignment]
    patient = SimpleNamespace(**vars(gevent))
    patient.sleep = lambda seconds: gevent.sleep(min(seconds, TICK_S))
    locust.runners.gevent = patient
    told: dict[str, Any] = {"ticks": {}, "runs": {}}
    for target in USERS:
        for shape in SHAPES:
            told["ticks"][f"{target} {shape}"] = tick_through(target, shape)
    for target in USERS:
        for shape in SHAPES:
            told["runs"][f"{target} {shape}"] = run_fakes(
                "--target", target, "--shape", shape, "--json", *PATIENT
            )
    with tempfile.TemporaryDirectory() as folder:
        told["table"] = run_fakes("--target", "http", "--report", folder, *PATIENT)
    # a call takes five
    told["slow"] = run_fakes("--target", "kafka", "--p99-ms", "1")
    Client.refuses = True
    told["refused"] = run_fakes("--target", "http", *PATIENT)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
