"""The labels stage on a store, a producer and leases in memory: joins, bad records, misplaced labels, crashes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import pyarrow.dataset as ds
import pytest
from faust.types import TP

from features.identity import identity_of
from features.store.keys import position_key
from features.store.partition_lease import Leases
from features.store.partitions import partitions_of
from features.transaction import epoch_ms, from_ms
from streams.archive.writer import Archive
from streams.contracts.label import CLOCKS_APART_MS, Label, parse_label
from streams.contracts.outcome import Outcome
from streams.contracts.tenants import ANY_TENANT
from streams.contracts.text.json_encoding import encode
from streams.labels.early_labels import WAIT_S, EarlyLabels, Subject, Waiting, early_key
from streams.labels.sent_outcomes import keys_of
from streams.labels.stage import LabelsStage, label_key
from streams.log.decision_index import (
    WINDOW_S,
    IndexedDecision,
    bucket_key,
    decode_page,
    encode_page,
    entries_in,
    lookups,
    page_key,
    parse_entry,
    row_of,
)
from streams.log.forwarding import seal_appended_ms
from streams.log.offsets.log_marks import LogMarks
from streams.log.records import (
    HEADER_ENTITIES,
    DecidedEntities,
    decode_items,
    encode_entities,
)
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter
from streams.runtime.metrics import FORWARDED, LABELS
from tests.support.archive_samples import START_MS, Record, decision
from tests.support.edge_keys import KEYS
from tests.support.metric_values import counted
from tests.support.parity_world import MemoryRedis, plain, sorted_set

PARTITIONS = 2
#: one card of each partition
CARDS = [
    next(card for card in (f"card-{n}" for n in range(99)) if partitions_of([card], PARTITIONS)[0] == home)
    for home in range(PARTITIONS)
]
OTHER_CARD = next(
    card for card in (f"other-{n}" for n in range(99)) if partitions_of([card], PARTITIONS)[0] == 0
)
_outcome_decoder = msgspec.json.Decoder(Outcome)


class Crash(Exception):
    """The worker dies: what is acknowledged stays, what is not written never was."""


@dataclass
class Store:
    """The commands that the stage and its leases send; with ``crash_next`` the next EXEC never happens."""

    values: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    scores: dict[str, dict[bytes, float]] = field(default_factory=dict)
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    crash_next: bool = False

    def with_retry(self, commands: Sequence[Any]) -> list[Any]:
        self.sent += plain(commands)
        return [self._one(*command) for command in plain(commands)]

    def call(self, commands: Sequence[Any]) -> list[Any]:
        if self.crash_next:
            self.crash_next = False
            raise Crash
        return self.with_retry(commands)

    def _one(self, name: Any, *parts: Any) -> Any:
        name, *parts = (
            part.decode() if i < 2 and isinstance(part, bytes) else part
            for i, part in enumerate((name, *parts))
        )  # type: ignore[assignment]
        if name.startswith("Z"):
            return sorted_set(name, self.scores.setdefault(parts[0], {}), parts[1:])
        if name == "MGET":
            return [self.values.get(key) for key in parts]
        if name == "GET":
            return self.values.get(parts[0])
        if name == "HSET":
            self.hashes.setdefault(parts[0], {})[parts[1]] = parts[2]
        if name == "HGET":
            return self.hashes.get(parts[0], {}).get(parts[1])
        if name == "INCR":
            self.values[parts[0]] = str(int(self.values.get(parts[0], b"0")) + 1).encode()
            return int(self.values[parts[0]])
        if name == "SET":
            self.values[parts[0]] = parts[1] if isinstance(parts[1], bytes) else str(parts[1]).encode()
        return [] if name == "EXEC" else b"OK"


@dataclass
class Log:
    """A producer whose records can be read."""

    sent: list[Record] = field(default_factory=list)

    def produce(
        self,
        topic: str,
        key: str,
        value: bytes,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        offset = len(self.of(topic, partition))
        self.sent.append(
            Record(topic, partition, offset, START_MS + 1_000, value, key.encode(), tuple(headers))
        )

    def flush(self, timeout_s: float) -> int:
        assert timeout_s > 0
        return 0

    def of(self, topic: str, partition: int | None = None) -> list[Record]:
        return [
            record
            for record in self.sent
            if record.topic == topic and (partition is None or record.partition == partition)
        ]


class World:
    """One labels worker; ``handle`` gives it one chunk, ``start`` another worker on the same store and log."""

    def __init__(self, most_waiting: int = 1000) -> None:
        self.store = Store()
        self.log = Log()
        self.most_waiting = most_waiting
        self.start()

    def start(self) -> None:
        store: Any = self.store
        log: Any = self.log
        leases = Leases(store, "labels")
        leases.lease([(topic, p) for topic in ("labels", "decisions") for p in range(PARTITIONS)])
        marks = LogMarks("", store, "labels")
        self.stage = LabelsStage(
            PARTITIONS, store, log, leases, KEYS, ANY_TENANT, marks, EarlyLabels(self.most_waiting)
        )
        self.stage.remember(set(), range(PARTITIONS))

    def handle(self, *records: Record, crash: bool = False) -> None:
        positions = {TP(r.topic, r.partition): r.offset + 1 for r in records}
        chunk = Chunk(records[0].topic, list(records), positions)
        self.store.crash_next = crash
        if crash:
            with pytest.raises(Crash):
                self.stage.handle(chunk)
            self.start()
        else:
            self.stage.handle(chunk)

    def position(self, topic: str, partition: int = 0) -> int:
        return int(self.store.values[position_key(topic, partition, "labels")])

    def entry(self, transaction_id: str) -> bytes | None:
        now_s = time.time()
        return entries_in(self.store.with_retry([lookups([transaction_id], now_s)]), now_s)[0]

    def dead_letters(self) -> list[DeadLetter]:
        return [decode_dead_letter(record.value or b"") for record in self.log.of("dead-letters")]

    def outcomes(self) -> list[Outcome]:
        return [_outcome_decoder.decode(record.value or b"") for record in self.log.of("outcomes")]

    def counted(self) -> list[tuple[str, str, int]]:
        return sorted(
            (item.entity, item.entity_id, item.frauds)
            for record in self.log.of("entities")
            for item in decode_items(record.value or b"").items
        )


def subject(number: int, card: str = CARDS[0]) -> Subject:
    return Subject(f"tx-{number}", card, "m-1")


def label(
    offset: int,
    number: int,
    partition: int = 0,
    card: str = CARDS[0],
    *,
    word: Literal["fraud", "legit"] = "fraud",
    at_ms: int = START_MS + 10,
    merchant: str = "m-1",
) -> Record:
    value = Label(
        transaction_id=f"tx-{number}",
        label=word,
        label_time=from_ms(at_ms),
        source="chargeback",
        card_id=card,
        merchant_id=merchant,
        event_time=from_ms(START_MS + number),
    )
    return Record("labels", partition, offset, START_MS + offset, encode(value), headers=(("trace", b"t"),))


NAMED = encode_entities(DecidedEntities("m-1", None, None, None))


def decided(offset: int, number: int, *headers: tuple[str, bytes]) -> Record:
    headers = headers or ((HEADER_ENTITIES, NAMED),)
    made = decision(number)
    made.card_id = CARDS[0]
    return Record("decisions", 0, offset, 1_000 + offset, encode(made), headers=headers)


def test_label_and_decision_meet_in_either_order():
    world = World()
    entities = DecidedEntities("m-1", "d-1", None, None)
    world.handle(decided(0, 1, (HEADER_ENTITIES, encode_entities(entities))))
    world.handle(label(0, 1), label(1, 2))
    world.handle(decided(1, 2))
    assert [outcome.decision.transaction_id for outcome in world.outcomes()] == ["tx-1", "tx-2"]
    counted = [("card", CARDS[0], 1)] * 2 + [("device", "d-1", 1)] + [("merchant", "m-1", 1)] * 2
    assert world.counted() == counted


def test_an_outcome_says_the_amount_that_its_decision_was_about():
    world = World()
    paid = DecidedEntities("m-1", None, None, None, None, 12_50, "EUR")
    world.handle(decided(0, 1, (HEADER_ENTITIES, encode_entities(paid))), decided(1, 2))
    world.handle(label(0, 1), label(1, 2))
    # where older code wrote the decision's record, it is not known
    assert [(one.amount_minor, one.currency) for one in world.outcomes()] == [(12_50, "EUR"), (None, None)]


def of_tenant(record: Record, tenant: str) -> Record:
    value = msgspec.json.decode(record.value or b"")
    return replace(record, value=msgspec.json.encode({**value, "tenant": tenant}))


def test_a_chargeback_joins_the_decision_of_its_own_tenant() -> None:
    """Order 1 of two shops: the same id, card and merchant. Whichever comes first, before or after its label."""
    world = World()
    entities = [
        (HEADER_ENTITIES, encode_entities(DecidedEntities("m-1", f"d-{n}", None, None))) for n in range(2)
    ]
    world.handle(
        of_tenant(decided(0, 1, entities[0]), "shop-a"), of_tenant(decided(1, 1, entities[1]), "shop-b")
    )
    world.handle(of_tenant(label(0, 1), "shop-b"))
    assert [outcome.decision.tenant for outcome in world.outcomes()] == ["shop-b"]
    assert ("device", "d-1", 1) in world.counted() and ("device", "d-0", 1) not in world.counted()
    # a label of each that comes first
    world.handle(of_tenant(label(1, 2), "shop-a"), of_tenant(label(2, 2), "shop-b"))
    world.handle(of_tenant(decided(2, 2), "shop-b"))
    assert [outcome.decision.tenant for outcome in world.outcomes()] == ["shop-b", "shop-b"]
    world.handle(of_tenant(decided(3, 2), "shop-a"))
    assert [outcome.decision.tenant for outcome in world.outcomes()] == ["shop-b", "shop-b", "shop-a"]
    # the merchant of both is told of both
    statements = {
        item.said.transaction
        for record in world.log.of("entities")
        for item in decode_items(record.value or b"").items
        if item.entity == "merchant" and item.said
    }
    assert statements == {
        identity_of(shop, f"tx-{n}") for shop, n in (("shop-b", 1), ("shop-a", 2), ("shop-b", 2))
    }


@pytest.mark.parametrize(
    "poison",
    [
        None,
        b"",
        b"null",
        b"not JSON",
        b'{"transaction_id":"\xff"}',
        b'{"transaction_id":"tx-1"}',
        encode(decision(1)).replace(b'"approve"', b'"perhaps"'),
        b'{"other":' + b"[" * 100_000,
    ],
    ids=["none", "empty", "null", "words", "not_utf8", "id_only", "wrong_value", "deep"],
)
def test_a_decision_that_does_not_parse_is_a_dead_letter_and_the_next_one_counts(poison):
    world = World()
    world.handle(Record("decisions", 0, 0, 1, poison), decided(1, 2))
    (letter,) = world.dead_letters()
    assert (letter.reason, letter.source_topic, letter.source_offset) == ("poison", "decisions", 0)
    assert world.position("decisions") == 2
    assert world.entry("tx-1") is None
    world.handle(label(0, 1), label(1, 2))
    assert [outcome.decision.transaction_id for outcome in world.outcomes()] == ["tx-2"]


def test_a_dead_letter_quotes_no_card_number():
    world = World()
    raw = encode(decision(1)).replace(b'"approve"', b'"4111111111111111"')
    world.handle(Record("decisions", 0, 0, 1, raw))
    assert "4111111111111111" not in world.dead_letters()[0].text


@pytest.mark.parametrize("header", [b"\xc1", b"\x91\x01", b"\x94\xa1\xff\xc0\xc0\xc0"])
def test_entities_that_do_not_decode_are_unknown_entities(header, caplog):
    world = World()
    world.handle(decided(0, 1, (HEADER_ENTITIES, header)))
    world.handle(label(0, 1))
    assert "labels[0] offset 0" in caplog.text
    assert len(world.outcomes()) == 1
    # whom the decision does not name for sure is not told
    assert world.counted() == [("card", CARDS[0], 1)]


@pytest.mark.parametrize(
    ("entry", "page"),
    [
        (b"\xc1", b""), (b"0:1-2", b""), (b"0:1-2:" + b"9" * 400, b""), (b"0:1-2:0", None), (b"0:1-2:0", b"\xc1"),
        (b"0:1-2:1", encode_page([IndexedDecision(encode(decision(1)), None)])),
        (b"0:1-2:0", encode_page([IndexedDecision(b"null", None)])),
        (b"0:1-2:0", encode_page([IndexedDecision(b"\xff", None)])),
    ],
)  # fmt: skip
def test_a_stored_decision_that_does_not_decode_is_an_unknown_decision(entry, page, caplog):
    world = World()
    bucket = bucket_key("tx-1", int(time.time() // WINDOW_S)).decode()
    world.store.hashes[bucket] = {b"tx-1": entry}
    if page is not None:
        world.store.values[page_key("0:1-2")] = page
    world.handle(label(0, 1))
    assert world.outcomes() == [] and world.position("labels") == 1
    assert world.counted() == []
    assert "labels[0] offset 0" in caplog.text


def test_decisions_of_a_chunk_are_pages_and_each_is_found_by_its_entry():
    world = World()
    records = [decided(offset, offset) for offset in range(600)]
    world.handle(*records[:300])
    world.handle(*records[300:])
    pages = sorted(key for key in world.store.values if key.startswith("tollgate:decisions:"))
    assert pages == sorted(page_key(f"0:{span}") for span in ("0-255", "256-299", "300-555", "556-599"))
    assert sum(len(world.store.values[page]) for page in pages) < 0.2 * sum(
        len(r.value or b"") for r in records
    )
    for number in (0, 255, 256, 299, 300, 555, 556, 599):
        place = parse_entry(world.entry(f"tx-{number}") or b"")
        found = row_of(decode_page(world.store.values[page_key(place.page)]), place)
        assert found.decision == records[number].value


def test_labels_of_many_pages_are_joined_in_one_chunk():
    world = World()
    for offset in range(150):
        world.handle(decided(offset, offset))
    world.handle(*(label(offset, offset) for offset in range(150)))
    assert sorted(o.decision.transaction_id for o in world.outcomes()) == sorted(
        f"tx-{n}" for n in range(150)
    )


def test_a_decision_is_looked_up_only_where_its_label_came_first():
    world = World()
    world.handle(label(0, 1))
    world.start()
    world.store.sent.clear()
    world.handle(*(decided(number, number) for number in range(1, 9)))
    (asked,) = [
        command[1:]
        for command in world.store.sent
        if command[0] == "MGET" and label_key(subject(1)) in command
    ]
    assert asked == (label_key(subject(1)),)
    assert [outcome.decision.transaction_id for outcome in world.outcomes()] == ["tx-1"]
    # and never again
    world.store.sent.clear()
    world.start()
    world.handle(decided(9, 1))
    assert not [command for command in world.store.sent if label_key(subject(1)) in command]


def test_an_early_label_that_nothing_came_for_in_a_week_is_forgotten():
    redis = MemoryRedis()
    store: Any = redis
    early = EarlyLabels()
    early.load(store, range(PARTITIONS), 0.0)
    ones = [Waiting(subject(number), "chargeback") for number in range(4)]

    def come(number: int, now_s: float) -> None:
        assert early.take(0, ones[number])
        store.call(early.came(0, [ones[number]], now_s))

    come(1, 1_000.0)
    come(2, 1_000.0 + WAIT_S)
    assert set(early.of(0, "tx-1")) == {ones[1]} and not early.of(1, "tx-1")
    assert set(redis.scores[early_key(0)]) == {one.text.encode() for one in ones[1:3]}
    come(3, 1_001.0 + WAIT_S)
    assert set(redis.scores[early_key(0)]) == {one.text.encode() for one in ones[2:]}
    early.load(store, range(PARTITIONS), 1_001.0 + 2 * WAIT_S)
    assert not early.of(0, "tx-2") and set(early.of(0, "tx-3")) == {ones[3]}
    store.call(early.met(0, [ones[3]]))
    assert not early and redis.scores[early_key(0)] == {ones[2].text.encode(): 1_000.0 + WAIT_S}


def test_early_labels_are_bounded_for_each_source():
    early = EarlyLabels(most=2)
    ones = [Waiting(subject(number), "chargeback") for number in range(3)]
    assert [early.take(0, one) for one in ones] == [True, True, False]
    # the same once more takes no room, and neither another source nor another partition loses any
    assert early.take(0, ones[0]) and early.take(0, Waiting(subject(2), "analyst")) and early.take(1, ones[2])
    early.met(0, [ones[0]])
    assert early.take(0, ones[2])


def test_a_label_for_which_there_is_no_room_is_a_dead_letter_and_counts_for_nobody():
    world = World(most_waiting=1)
    world.handle(label(0, 1), label(1, 2))
    (letter,) = world.dead_letters()
    assert (letter.reason, letter.source_topic, letter.source_offset) == ("label_waiting", "labels", 1)
    assert parse_label(letter.original_bytes()).transaction_id == "tx-2"
    world.handle(decided(0, 1), decided(1, 2))
    assert [outcome.decision.transaction_id for outcome in world.outcomes()] == ["tx-1"]


@pytest.mark.parametrize("stored", [b"\xc1", b"\x91\xc0", b"\x91\x81\xa1\xff\x01"])
def test_a_stored_label_that_does_not_decode_is_an_unknown_label(stored):
    world = World()
    world.store.values[label_key(subject(1))] = stored
    world.store.scores[early_key(0)] = {
        Waiting(subject(1), "chargeback").text.encode(): time.time(), b"of an older form": time.time(),
    }  # fmt: skip
    world.stage.remember(set(), range(PARTITIONS))
    world.handle(decided(0, 1))
    assert world.outcomes() == []
    world.handle(label(0, 1))
    assert len(world.outcomes()) == 1


def test_a_misplaced_label_is_sent_on_and_joined_only_where_it_belongs():
    world = World()
    world.handle(decided(0, 1))
    before = FORWARDED._value.get()
    misplaced = label(7, 1, partition=1)
    world.handle(misplaced, label(8, 3, partition=1, card=CARDS[1]))
    assert FORWARDED._value.get() == before + 1
    assert world.outcomes() == [] and label_key(subject(1)) not in world.store.values
    assert label_key(subject(3, CARDS[1])) in world.store.values and world.position("labels", 1) == 9
    (sent,) = world.log.of("labels")
    assert (sent.partition, sent.value, sent.key) == (0, misplaced.value, CARDS[0].encode())
    appended_ms = seal_appended_ms(KEYS.newest(), misplaced.value, START_MS + 7)
    assert dict(sent.headers) == {
        "tollgate-forwarded-from": b"1:7", "tollgate-appended-ms": appended_ms,
    }  # fmt: skip
    world.handle(sent)
    assert len(world.outcomes()) == 1
    assert world.counted().count(("card", CARDS[0], 1)) == 1


def test_an_outcome_that_is_on_the_log_is_not_sent_again_when_the_other_side_completes_the_pair():
    world = World()
    world.handle(decided(0, 1))
    world.handle(label(0, 1))
    sent = [record.value for record in world.log.of("outcomes")]
    # the store loses all that it was told; now the label is read first
    world.store.values.clear()
    world.start()
    world.stage.remember(keys_of([*sent, None, b"", b"no outcome", b'{"label":"\xff"}']), range(PARTITIONS))
    world.handle(label(0, 1))
    world.handle(decided(0, 1), decided(1, 2))
    assert len(world.outcomes()) == 1
    world.handle(label(1, 2))
    assert [outcome.decision.transaction_id for outcome in world.outcomes()] == ["tx-1", "tx-2"]


@pytest.mark.parametrize(
    ("field", "ahead", "reason"),
    [
        ("label_time", timedelta(days=26_000), "label_time_ahead"),
        ("label_time", timedelta(milliseconds=CLOCKS_APART_MS, minutes=1), "label_time_ahead"),
        ("event_time", timedelta(hours=20), "event_time_ahead"),
    ],
)
def test_a_label_from_the_future_is_a_dead_letter(field: str, ahead: timedelta, reason: str):
    """It would hold for ever, or move a merchant's tiles ahead, which forget what they hold."""
    world = World()
    world.handle(decided(0, 1))
    now = datetime.now(UTC)
    said = msgspec.structs.replace(msgspec.json.decode(label(0, 1).value or b"", type=Label), label_time=now)
    world.handle(replace(label(0, 1), value=encode(msgspec.structs.replace(said, **{field: now + ahead}))))
    (letter,) = world.dead_letters()
    assert (letter.reason, letter.field, letter.source_offset) == (reason, field, 0)
    assert world.counted() == [] and world.outcomes() == []
    # clocks differ
    near = msgspec.structs.replace(said, **{field: now + timedelta(minutes=1)})
    world.handle(replace(label(1, 1), value=encode(near)))
    assert len(world.outcomes()) == 1


#: (label, its time) in the order in which they come, and the one that holds
ORDERS = [
    ([("fraud", 10), ("legit", 5)], ("fraud", 10)),
    ([("legit", 5), ("fraud", 10)], ("fraud", 10)),
    ([("fraud", 1), ("fraud", 9), ("legit", 5)], ("fraud", 9)),
    ([("fraud", 9), ("legit", 5), ("fraud", 1)], ("fraud", 9)),
    ([("fraud", 1), ("legit", 5), ("fraud", 9), ("fraud", 9), ("legit", 7)], ("fraud", 9)),
    ([("fraud", 1), ("fraud", 1), ("legit", 2), ("legit", 2), ("fraud", 1)], ("legit", 2)),
    ([("legit", 9), ("fraud", 3)], ("legit", 9)),
    ([("fraud", 4), ("legit", 4)], ("legit", 4)),
]


@pytest.mark.parametrize("early", [0, 1, 2, 9], ids=["decision first", "second", "third", "last"])
@pytest.mark.parametrize(("said", "holds"), ORDERS)
def test_the_newest_label_holds_in_whatever_order_they_come(said: Any, holds: Any, early: int):
    world = World()
    for offset, (word, at) in enumerate(said):
        if offset == early:
            world.handle(decided(0, 1))
        world.handle(label(offset, 1, word=word, at_ms=START_MS + at))
    if early >= len(said):
        world.handle(decided(0, 1))
    outcome = world.outcomes()[-1]
    assert (outcome.label, outcome.label_time) == (holds[0], from_ms(START_MS + holds[1]))
    # what card and merchant have heard last, by the rule of their own updates
    for entity in ("card", "merchant"):
        said_to = [
            (item.said.label_time_ms, item.said.offset, item.frauds)
            for record in world.log.of("entities")
            for item in decode_items(record.value or b"").items
            if item.entity == entity and item.said
        ]
        assert (max(said_to)[2] if said_to else 0) == (holds[0] == "fraud")


def test_a_label_of_a_payment_that_never_was_counts_for_nobody_and_waits():
    world = World()
    waiting = counted(LABELS.labels("chargeback", "waiting"))
    world.handle(*(label(offset, 100 + offset) for offset in range(50)))
    assert world.counted() == [] and world.outcomes() == [] and world.dead_letters() == []
    assert counted(LABELS.labels("chargeback", "waiting")) - waiting == 50


@pytest.mark.parametrize("first", ["label", "decision"])
@pytest.mark.parametrize(
    ("wrong", "field"), [({"card": OTHER_CARD}, "card_id"), ({"merchant": "m-2"}, "merchant_id")]
)
def test_a_label_joins_only_the_payment_of_its_card_and_merchant(first: str, wrong: Any, field: str):
    world = World()
    if first == "decision":
        world.handle(decided(0, 1))
    # dated after the right one, which it must not put out of force
    world.handle(label(0, 1), label(1, 1, at_ms=START_MS + 99, word="legit", **wrong))
    if first == "label":
        world.handle(decided(0, 1))
    assert [(o.label, o.merchant_id) for o in world.outcomes()] == [("fraud", "m-1")]
    assert world.counted() == [("card", CARDS[0], 1), ("merchant", "m-1", 1)]
    (letter,) = world.dead_letters()
    assert (letter.reason, letter.field) == ("label_mismatch", field)
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == ("labels", 0, 1)
    assert parse_label(letter.original_bytes()).label == "legit"
    # and later ones of both
    world.handle(label(2, 1, at_ms=START_MS + 50, word="legit"), label(3, 1, at_ms=START_MS + 99, **wrong))
    assert [o.label for o in world.outcomes()] == ["fraud", "legit"]
    assert len(world.dead_letters()) == 2


def test_what_a_label_says_of_the_time_of_its_payment_moves_no_count():
    world = World()
    world.handle(decided(0, 1))
    value = msgspec.json.decode(label(0, 1).value or b"", type=Label)
    world.handle(
        replace(
            label(0, 1), value=encode(msgspec.structs.replace(value, event_time=from_ms(START_MS - 10**9)))
        )
    )
    moments = {
        item.event_ms
        for record in world.log.of("entities")
        for item in decode_items(record.value or b"").items
    }
    assert moments == {epoch_ms(decision(1).event_time)}


def test_a_chunk_of_misplaced_labels_only_moves_the_position():
    world = World()
    world.handle(label(0, 1, partition=1))
    assert world.position("labels", 1) == 1


def test_an_outcome_names_the_record_that_completed_it():
    world = World()
    world.handle(decided(0, 1))
    world.handle(label(0, 2), label(1, 1))
    world.handle(decided(1, 2))
    found = [dict(record.headers)["tollgate-outcome-source"] for record in world.log.of("outcomes")]
    assert found == [b"labels:0:1", b"decisions:0:1"]


def test_outcomes_that_a_crash_repeats_are_archived_once_and_those_that_it_reorders_too(tmp_path):
    """After the crash a decision comes first, so that an earlier label than the archived one completes its pair."""
    world = World()
    world.handle(decided(0, 2))
    world.handle(label(0, 1), label(1, 2), crash=True)
    world.handle(decided(1, 1))
    world.handle(label(0, 1), label(1, 2))
    sent = world.log.of("outcomes")
    names = [outcome.decision.transaction_id for outcome in world.outcomes()]
    assert names == ["tx-2", "tx-1", "tx-2"]
    for flushes in ([sent], [sent[:1], sent[1:]], [sent[:1], sent[1:2], sent[2:]]):
        root = tmp_path / str(len(flushes))
        for records in flushes:
            archive = Archive(root, _no_refusal)
            archive.add([replace(record, timestamp=START_MS) for record in records], 0.0)
            archive.close()
        table = ds.dataset(root / "outcomes", partitioning="hive").to_table().to_pydict()
        assert sorted(table["transaction_id"]) == ["tx-1", "tx-2"]


def _no_refusal(record: object, reason: str) -> None:
    raise AssertionError(f"{record} refused: {reason}")
