"""However transactions come again - at once, later, under another content, on another card, after a crash, however old - each identity
is decided once, by its first record, and every other record is a repetition or a dead letter that names the first."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from features.catalogue import INDEX
from features.store.partitions import partitions_of
from features.store.redis_client import Command
from features.transaction import Transaction, from_ms
from models.decision import Decision
from streams.contracts.text.json_encoding import encode
from streams.log.decision_index import KEEP_S, IndexedDecision, IndexWriter, Row
from streams.log.feature_batch import FeatureRecord
from streams.log.records import encode_entities_of
from streams.log.replayed import HEADER_REPLAYS, seal_replayed
from streams.log.seal import KEY_BYTES, Key, key_of
from streams.processor.identities.blocks import IdentityBlocks, secret
from streams.processor.identities.known_transactions import KnownTransactions
from streams.processor.identities.table import IdentityTable
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter
from tests.support.edge_keys import KEYS
from tests.support.feature_batches import rows_in
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker
from tests.support.rebuilt_store import rebuilt
from tests.support.whole import whole

START = from_ms(APPENDED_MS) - timedelta(days=50)
NOW_S = APPENDED_MS / 1000
CARDS = [f"card-{n}" for n in range(4)]
CONTENT = ("card_id", "merchant_id", "amount_minor", "currency", "event_time")


def payment(number: int, tenant: str = "default", minutes: int | None = None) -> Transaction:
    return Transaction(
        transaction_id=f"t{number}", event_time=START + timedelta(minutes=number if minutes is None else minutes),
        card_id=CARDS[number % 4], merchant_id=f"m-{number % 3}", amount_minor=100 + number, currency="EUR", tenant=tenant,
    )  # fmt: skip


class Shop:
    """Payments on a log, a worker that handles them, and what came of each record."""

    def __init__(
        self, seed: int = 0, *, remembers: int | None = None, redis: MemoryRedis | None = None
    ) -> None:
        """``remembers``: identities of a worker whose memory is short; None: as many as a real one's."""
        self.random = random.Random(seed)
        self.log, self.redis, self.now_s = MemoryLog(), redis or MemoryRedis(), NOW_S
        known = partial(KnownTransactions, partitions=PARTITIONS, clock=lambda: self.now_s)
        if remembers is not None:
            known = partial(
                known, table=lambda: IdentityTable(8 * remembers),
                blocks=lambda partitions: IdentityBlocks(partitions, kept=remembers, block=8),
            )  # fmt: skip
        self.worker = Worker(self.log, self.redis, known=known)
        self.sent: dict[tuple[int, int], Transaction] = {}
        self.indexed = 0

    def send(self, *payments: Transaction) -> None:
        for tx in payments:
            partition = int(partitions_of([tx.card_id], PARTITIONS)[0])
            self.sent[partition, len(self.log.topics.get(("transactions", partition), []))] = tx
            self.log.produce("transactions", tx.card_id, encode(tx), partition)
            # each record has an append time of its own
            self.log.now_ms += 1

    def work(self, at_once: int = 100, *, crashes: float = 0.0) -> None:
        while self.worker.behind():
            self.worker.step("transactions", at_once, crash=self.random.random() < crashes)
            self.worker.step("entities", 1000)

    def index(self) -> None:
        """What was decided so far comes into the decision index."""
        rows = self.decided()[self.indexed :]
        self.indexed += len(rows)
        for place, row in enumerate(rows):
            tx = row.transaction
            decision = Decision(
                transaction_id=tx.transaction_id, decision="approve", status="scored", score=0.1, reasons=[], model="fraud",
                model_version="1", policy_version="1", features_version="x", arm="champion", shadow={}, rules=[],
                event_time=tx.event_time, received_at=from_ms(row.appended_ms), decided_at=from_ms(row.appended_ms + 9),
                latency_ms=9.0, card_id=tx.card_id, tenant=tx.tenant,
            )  # fmt: skip
            kept = Row(place, tx.identity, IndexedDecision(encode(decision), encode_entities_of(tx)))
            self.redis.call(IndexWriter().writes(100 + self.indexed + place, [kept], self.now_s))

    def decided(self) -> list[FeatureRecord]:
        """The rows of `features` that scoring decides: of each source offset the first."""
        out: dict[tuple[int, int], FeatureRecord] = {}
        for row in rows_in(record.value for record in self.log.records("features")):
            out.setdefault((row.partition, row.offset), row)
        return list(out.values())

    def letters(self) -> dict[tuple[int, int], DeadLetter]:
        letters = [decode_dead_letter(record.value) for record in self.log.records("dead-letters")]
        return {(letter.source_partition, letter.source_offset): letter for letter in letters}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.sampled_from([0.0, 0.3]))
def test_each_identity_is_decided_once_by_its_first_record(seed: int, at_once: int, crashes: float) -> None:
    shop, pick = Shop(seed), random.Random(seed)
    for _ in range(4):
        for _ in range(pick.randrange(1, 15)):
            tx = payment(pick.randrange(12), pick.choice(["default", "shop-a", "shop-b"]))
            if pick.random() < 0.3:
                change = pick.choice(
                    [
                        {"amount_minor": 7},
                        {"card_id": pick.choice(CARDS)},
                        {"merchant_id": "m-9"},
                        {"country": "FR"},
                    ]
                )
                tx = replace(tx, **change)
            shop.send(tx)
            if pick.random() < 0.5:
                shop.work(at_once, crashes=crashes)
        if pick.random() < 0.3:
            shop.worker.start_again()
    shop.work(at_once, crashes=crashes)
    decided = {(row.partition, row.offset): row.transaction for row in shop.decided()}
    assert all(shop.sent[place] == tx for place, tx in decided.items())
    first = {tx.identity: tx for tx in decided.values()}
    assert len(first) == len(decided), "an identity was decided twice"
    assert set(first) == {tx.identity for tx in shop.sent.values()}, "an identity was never decided"
    for place, tx in shop.sent.items():
        if place in decided:
            continue
        held = first[tx.identity]
        other = any(getattr(held, name) != getattr(tx, name) for name in CONTENT)
        assert (place in shop.letters()) == other
        if other:
            (at,) = (at for at, one in decided.items() if one.identity == tx.identity)
            letter = shop.letters()[place]
            assert (letter.reason, letter.field) == ("conflict", "transaction_id")
            assert f"transactions/{at[0]}/{at[1]}:" in letter.text and f"tenant {tx.tenant} " in letter.text


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_state_is_rebuilt_without_what_came_again(seed: int, at_once: int) -> None:
    """Repetitions and conflicts of one card leave no trace in the state, whoever computes it."""
    shop, pick = Shop(seed), random.Random(seed)
    for number in range(30):
        shop.send(payment(number))
        if pick.random() < 0.5:
            again = payment(pick.randrange(number + 1))
            shop.send(replace(again, amount_minor=pick.choice([again.amount_minor, 7])))
    shop.work(at_once, crashes=0.2)
    client: Any = shop.redis
    again = rebuilt(shop.log, pick.randrange(1, 50), secret(client))
    assert whole(again.values) == whole(shop.redis.values)
    blocks = {key: value for key, value in shop.redis.values.items() if "}identities:" in key}
    assert len(blocks) == len({place[0] for place in shop.sent})
    assert blocks.items() <= again.values.items()


@pytest.mark.parametrize("days_old", [1, 42, 400])
def test_an_old_file_sent_three_times_is_decided_once(days_old: int) -> None:
    """Older than all that a profile holds, and more of it than the processor remembers: the index knows it."""
    shop = Shop(remembers=32)
    file = [replace(payment(n), event_time=START - timedelta(days=days_old, minutes=-n)) for n in range(300)]
    for round_ in range(3):
        shop.send(*file)
        shop.work(at_once=7)
        shop.index()
        assert len(shop.decided()) == 300, round_
    shop.worker.start_again()
    shop.send(*file)
    shop.work(at_once=50)
    assert len(shop.decided()) == 300 and shop.letters() == {}
    # under the id of an old one comes another payment
    shop.send(replace(file[3], amount_minor=1), replace(file[4], card_id=CARDS[1]))
    shop.work()
    assert [letter.reason for letter in shop.letters().values()] == ["conflict"] * 2
    assert len(shop.decided()) == 300


def test_what_the_index_has_forgotten_is_refused_as_too_old() -> None:
    shop = Shop(remembers=32)
    file = [payment(n) for n in range(300)]
    shop.send(*file)
    shop.work(at_once=7)
    shop.index()
    shop.now_s += KEEP_S + 2 * 86_400
    shop.log.now_ms += (KEEP_S + 2 * 86_400) * 1000
    shop.send(
        file[5], replace(payment(5_000), event_time=file[5].event_time), payment(6_000, minutes=100_000)
    )
    shop.work()
    # neither can be told from what was decided; what is newer than all that was forgotten is decided as ever
    assert len(shop.decided()) == 301
    letters = list(shop.letters().values())
    assert [(letter.reason, letter.field) for letter in letters] == [("too_old", "event_time")] * 2
    assert "may have been decided before" in letters[0].text


def test_a_young_stack_takes_payments_of_any_age() -> None:
    shop = Shop()
    shop.send(payment(1), replace(payment(2), event_time=START - timedelta(days=4_000)))
    shop.work()
    assert len(shop.decided()) == 2


def test_a_crash_does_not_make_a_record_its_own_repetition() -> None:
    """Decided and indexed, but not in the state: the record is applied, and its features come again under its own offset."""
    shop = Shop(remembers=32)
    shop.send(*(payment(n) for n in range(200)))
    shop.work(at_once=9)
    late = replace(payment(700), event_time=START)
    shop.send(late)
    shop.worker.step("transactions", 50, crash=True)
    shop.index()
    before = whole(shop.redis.values)
    shop.work()
    assert whole(shop.redis.values) != before
    assert [row.transaction for row in shop.decided()].count(late) == 1


def test_ids_of_one_short_hash_at_the_same_time_and_amount_are_two_payments() -> None:
    """A card's profile keeps 16 bits of an id: what it takes for a repetition is decided all the same."""
    by_hash: dict[int, str] = {}
    for number in range(3_000):
        name = f"x{number}"
        other = by_hash.setdefault(crc32(name.encode()) & 0xFFFF, name)
        if other != name:
            break
    shop = Shop()
    shop.send(*(replace(payment(0), transaction_id=one) for one in (other, name, other)))
    shop.work()
    assert [row.transaction.transaction_id for row in shop.decided()] == [other, name]
    assert not np.isnan(np.frombuffer(shop.decided()[1].vector, "<f4")[INDEX["card_count_1h"]])


def test_what_a_person_sends_again_is_decided_although_it_is_known() -> None:
    """Accepted, and refused later: with the seal of the command it is decided anew, and counts in the state once."""
    shop = Shop()
    tx = payment(1)
    shop.send(tx)
    shop.work()
    (place,) = shop.sent
    before = whole(shop.redis.values)
    value = encode(tx)

    def again(partition: int, offset: int, key: Key | None = None) -> int:
        headers = [(HEADER_REPLAYS, seal_replayed(key or KEYS.newest(), value, partition, offset))]
        shop.log.produce("transactions", tx.card_id, value, place[0], headers)
        shop.work()
        return len(shop.decided())

    # of another record, by nobody we know, and as it is
    assert again(place[0], place[1] + 5) == 1
    assert again(*place, key_of(b"x" * KEY_BYTES)) == 1
    assert again(*place) == 2
    assert whole(shop.redis.values) == before
    # that one is the first now: the same letter is not decided a third time
    assert again(*place) == 2


def test_what_was_decided_is_not_decided_anew_because_a_dead_letter_says_that_it_was_refused() -> None:
    shop = Shop()
    shop.send(payment(1))
    shop.work()
    (place,) = shop.sent
    shop.index()
    value = encode(payment(1))
    headers = [(HEADER_REPLAYS, seal_replayed(KEYS.newest(), value, *place))]
    shop.log.produce("transactions", payment(1).card_id, value, place[0], headers)
    shop.work()
    assert len(shop.decided()) == 1


def test_what_is_known_is_found_in_the_store_by_the_next_worker() -> None:
    shop = Shop()
    shop.send(payment(1), payment(2))
    shop.work()
    shop.worker.start_again()
    shop.send(payment(1), replace(payment(2), amount_minor=9))
    shop.work()
    assert len(shop.decided()) == 2
    (letter,) = shop.letters().values()
    assert letter.reason == "conflict"


def test_nothing_is_looked_up_while_all_is_remembered() -> None:
    class Asked(MemoryRedis):
        def _one(self, command: Command) -> Any:
            assert command[0] != "HGET", "the decision index was asked"
            return super()._one(command)

    shop = Shop(redis=Asked())
    file = [payment(n) for n in range(50)]
    shop.send(*file, *file, replace(file[1], amount_minor=1))
    shop.work(at_once=9)
    assert len(shop.decided()) == 50
