"""The users: one calls the HTTP edge with the typed client, one writes to Kafka and waits for its decision by id."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import gevent
from locust import User, constant_throughput, task

from features.transaction import Transaction
from loadtest.locust.decisions import Decisions
from services.client import Client, ItemProblem
from services.client.retries import NEVER
from streams.contracts.text.json_encoding import encode
from streams.log.topics import TRANSACTIONS

BATCH = 50
#: a decision that is not there by then is missing
WAIT_S = 15.0


@dataclass
class Load:
    """What the users of one run share. ``rate``: calls a second and user."""

    http: str
    honest: Iterator[Transaction]
    attacks: Iterator[Transaction]
    decisions: Decisions
    producer: Any
    rate: float
    deadline_ms: int
    accepted: set[str] = field(default_factory=set)


class TollgateUser(User):
    """A user with a rate of its own; a call that takes longer is followed by the next at once."""

    abstract = True
    attacker: ClassVar[bool] = False

    @property
    def load(self) -> Load:
        load: Load = self.environment.load
        return load

    def wait_time(self) -> float:
        return float(constant_throughput(self.load.rate)(self))

    def payment(self) -> Transaction:
        return next(self.load.attacks if self.attacker else self.load.honest)

    def timed(self, kind: str, name: str, call: Callable[[], float | None]) -> None:
        """Make a call and report it; ``call`` may return when it ended (``time.perf_counter``)."""
        began_s = time.perf_counter()
        error: Exception | None = None
        ended_s = None
        try:
            ended_s = call()
        except Exception as failure:  # noqa: BLE001 - Locust's edge: every failure is counted by its text
            error = failure
        took_ms = ((ended_s or time.perf_counter()) - began_s) * 1000
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=took_ms,
            response_length=0,
            exception=error,
            context={},
        )


class HttpUser(TollgateUser):
    """Scores one at a time, now and then a batch or a look at what was decided."""

    def on_start(self) -> None:
        # a retry would hide what Locust is to see
        self._client = Client(self.load.http, retry=NEVER)
        self._last: str | None = None

    def on_stop(self) -> None:
        self._client.close()

    @task(100)
    def score(self) -> None:
        transaction = self.payment()
        self.timed("HTTP", "score", lambda: self._score(transaction))

    @task(1)
    def score_batch(self) -> None:
        source = self.load.attacks if self.attacker else self.load.honest
        transactions = list(islice(source, BATCH))
        self.timed("HTTP", f"batch of {BATCH}", lambda: self._score_batch(transactions))

    @task(2)
    def look(self) -> None:
        if self._last is not None:
            known = self._last
            self.timed("HTTP", "decision", lambda: self._look(known))

    def _score(self, transaction: Transaction) -> None:
        self._client.score(transaction, self.load.deadline_ms)
        self._last = transaction.transaction_id
        self.load.accepted.add(self._last)

    def _score_batch(self, transactions: list[Transaction]) -> None:
        answers = self._client.score_batch(transactions, 10 * self.load.deadline_ms)
        for answer in answers:
            if isinstance(answer, ItemProblem):
                raise answer.problem
            self.load.accepted.add(answer.transaction_id)

    def _look(self, transaction_id: str) -> None:
        self._client.decision(transaction_id)


class KafkaUser(TollgateUser):
    """Writes a transaction and waits for its decision; the time runs from the write to the decision being read."""

    @task
    def pay(self) -> None:
        transaction = self.payment()
        self.timed("Kafka", "decided", lambda: self._decided(transaction))

    def _decided(self, transaction: Transaction) -> float:
        load, transaction_id = self.load, transaction.transaction_id
        result = load.decisions.expect(transaction_id)
        load.accepted.add(transaction_id)
        load.producer.produce(TRANSACTIONS.name, key=transaction.card_id, value=encode(transaction))
        load.producer.poll(0)
        try:
            ended_s: float = result.get(timeout=WAIT_S)
        except gevent.Timeout:
            load.decisions.give_up(transaction_id)
            raise TimeoutError(f"no decision within {WAIT_S:g} s") from None
        return ended_s


class HttpAttacker(HttpUser):
    attacker = True


class KafkaAttacker(KafkaUser):
    attacker = True


#: target -> (honest, attackers)
USERS: dict[str, tuple[type[TollgateUser], type[TollgateUser]]] = {
    "http": (HttpUser, HttpAttacker),
    "kafka": (KafkaUser, KafkaAttacker),
}
