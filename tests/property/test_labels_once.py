"""Labels and decisions in any order, workers that die between acknowledgement and EXEC, a store that loses its last writes:
each fraud counts once for its card, merchant, device, ip and customer."""

from __future__ import annotations

import copy
import random
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.partitions import partitions_of
from features.store.views import FRAUDS_OF, PAYMENTS_OF, View
from features.transaction import from_ms
from streams.contracts.label import Label
from streams.contracts.outcome import Outcome
from streams.contracts.text.json_encoding import encode
from streams.log.records import HEADER_ENTITIES, DecidedEntities, encode_entities
from tests.support.archive_samples import START_MS, decision
from tests.support.labels_worker import LabelsWorker
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker
from tests.support.whole import profile_of

TRANSACTIONS = 12
CARDS = ["card-1", "card-2", "card-3"]
NAMED = DecidedEntities("m-1", "d-1", "203.0.113.7", "cu-1")


class LossyRedis(MemoryRedis):
    """Keeps what it held after each of the last EXECs, and can go back to one of them."""

    def __init__(self) -> None:
        super().__init__()
        self._before: list[Any] = []

    def call(self, commands: Any) -> list[Any]:
        replies = super().call(commands)
        if ("EXEC",) in commands:
            self._before = [*self._before[-4:], copy.deepcopy((self.values, self.hashes, self.scores))]
        return replies

    def lose(self, pick: random.Random) -> None:
        if self._before:
            kept = pick.randrange(len(self._before))
            self.values, self.hashes, self.scores = copy.deepcopy(self._before[kept])
            self._before = self._before[: kept + 1]


class Town:
    """A few cards' decisions and labels, said twice, corrected, early and late."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.log, self.redis = MemoryLog(), LossyRedis()
        self.labels, self.processor = LabelsWorker(self.log, self.redis), Worker(self.log, self.redis)
        #: by transaction: time (h), how manieth, word
        self.said: dict[int, tuple[int, int, str]] = {}
        self.count = 0

    def run(self, steps: int) -> None:
        untold = list(range(TRANSACTIONS))
        undecided = list(range(TRANSACTIONS))
        for moment in range(steps):
            roll = self.pick.random()
            if roll < 0.15 and undecided:
                self._decide(undecided.pop(self.pick.randrange(len(undecided))))
            elif roll < 0.35:
                number = (
                    untold.pop() if untold and self.pick.random() < 0.7 else self.pick.randrange(TRANSACTIONS)
                )
                self._label(number, moment)
            elif roll < 0.45:
                self.redis.lose(self.pick)
                self.labels.start()
                self.processor = Worker(self.log, self.redis)
            else:
                self._step(crash=self.pick.random() < 0.2)
        for number in undecided:
            self._decide(number)
        for _ in range(400):
            if not (self.labels.behind() or self.processor.behind()):
                return
            self._step(crash=False)
        raise AssertionError("the workers do not come to the end of the log")

    def frauds(self) -> dict[tuple[str, str], int]:
        """Frauds by entity, as the stored profiles have them."""
        named = (("merchant", "m-1"), ("device", "d-1"), ("ip", "203.0.113.7"))
        out = {}
        for entity, name in named:
            arena = self._stored(entity, name, PAYMENTS_OF[entity])
            out[(entity, name)] = int(arena["third_fraud"][0].sum())
        for entity, name in (("customer", "cu-1"), *(("card", card) for card in CARDS)):
            arena = self._stored(entity, name, FRAUDS_OF[entity])
            out[(entity, name)] = int(arena["day_fraud"][0].sum())
        return out

    def outcomes(self) -> list[tuple[str, str, Any]]:
        """(transaction, label, when it was said) of each record of `outcomes`."""
        made = [msgspec.json.decode(r.value, type=Outcome) for r in self.log.records("outcomes")]
        return [(o.decision.transaction_id, o.label, o.label_time) for o in made]

    def truth(self) -> dict[tuple[str, str], int]:
        frauds = [number for number, (*_, label) in self.said.items() if label == "fraud"]
        named = (("merchant", "m-1"), ("device", "d-1"), ("ip", "203.0.113.7"), ("customer", "cu-1"))
        cards = {("card", card): sum(_card(n) == card for n in frauds) for card in CARDS}
        return {**dict.fromkeys(named, len(frauds)), **cards}

    def _stored(self, entity: str, name: str, view: View) -> np.ndarray:
        return profile_of(self.redis, view, name)

    def _step(self, *, crash: bool) -> None:
        worker: Any
        worker, topic = self.pick.choice(
            [(self.labels, "labels"), (self.labels, "decisions"), (self.processor, "entities")]
        )
        worker.step(topic, self.pick.randrange(1, 6), crash=crash)

    def _decide(self, number: int) -> None:
        made = decision(number)
        made.card_id = _card(number)
        headers = [(HEADER_ENTITIES, encode_entities(NAMED))]
        self.log.produce("decisions", value=encode(made), partition=_home(made.card_id), headers=headers)

    def _label(self, number: int, moment: int) -> None:
        said = self.pick.choice(("fraud", "fraud", "legit"))
        # as they are made, or not
        moment_h = moment // 3 if self.pick.random() < 0.7 else self.pick.randrange(40)
        self.count += 1
        label = Label(
            transaction_id=f"tx-{number}", label=said, label_time=from_ms(START_MS) + timedelta(hours=moment_h),
            source="chargeback", card_id=_card(number), merchant_id="m-1", event_time=from_ms(START_MS + number),
        )  # fmt: skip
        # the newest holds, and of two of one time the later on the log
        self.said[number] = max(self.said.get(number, (-1, -1, "")), (moment_h, self.count, said))
        self.log.produce("labels", value=encode(label), partition=_home(label.card_id))


def _card(number: int) -> str:
    return CARDS[number % len(CARDS)]


def _home(card_id: str) -> int:
    return int(partitions_of([card_id], PARTITIONS)[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000))
def test_each_fraud_counts_once_for_all_whom_it_concerns(seed: int) -> None:
    town = Town(seed)
    town.run(80)
    assert town.frauds() == town.truth()
    outcomes = town.outcomes()
    assert len(outcomes) == len(set(outcomes))
    # the newest outcome of each says the newest label
    newest = {name: (label, moment) for name, label, moment in sorted(outcomes, key=lambda o: o[2])}
    for number, (hours, _, label) in town.said.items():
        moment = from_ms(START_MS) + timedelta(hours=hours)
        assert newest[f"tx-{number}"][1] == moment and (f"tx-{number}", label, moment) in outcomes
