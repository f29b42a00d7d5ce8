"""Poison on `entities`: kept for a person, and the items around it are applied."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from faust.types import TP

from features.profile.codec import read_profiles
from features.profile.records import FRAUDS, new_arena
from features.store.keys import GROUP, applied_key, key
from features.store.partition_lease import Leases
from features.store.profiles.cache import ProfileCache
from features.store.views import CARD_FRAUDS
from streams.log.offsets.log_marks import LogMarks
from streams.log.records import EntityItem, EntityItems, LabelStatement, encode_items
from streams.processor.commit import ChunkCommit, SynchronousCommitter
from streams.processor.entities import EntityStage
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.metrics import FEATURE_STALENESS
from tests.support.entity_stage import stage_in_memory
from tests.support.parity_world import MemoryLog, MemoryRedis, Record, unbounded


def item(entity: str, offset: int) -> EntityItem:
    return EntityItem(entity, f"{entity}-1", "tx", offset, 1_795_256_130_123, 100, 1, 0)


def test_poison_is_kept_and_the_rest_applied() -> None:
    stage, redis, log = stage_in_memory()
    values = [
        encode_items(EntityItems("transactions", 0, [item("merchant", 0)])),
        None,
        b"",
        b"\xff\xfe",
        encode_items(EntityItems("transactions", 0, [item("unicorn", 1)])),
        encode_items(
            EntityItems("transactions", 0, [msgspec.structs.replace(item("merchant", 1), entity_id="")])
        ),
        encode_items(EntityItems("transactions", 0, [item("merchant", 2)])),
    ]
    records = [Record("entities", 0, i, 1, None, value, []) for i, value in enumerate(values)]  # type: ignore[arg-type]
    stage.handle(Chunk("entities", records, {TP("entities", 0): len(records)}))
    letters = [decode_dead_letter(record.value) for record in log.records("dead-letters")]
    assert [letter.source_offset for letter in letters] == [1, 2, 3, 4, 5]
    assert {letter.reason for letter in letters} == {"poison"}
    # both good items count: the last one applied is the last one sent
    applied = redis.call([("HGETALL", applied_key(0))])[0]
    assert [int(value) for value in applied[1::2]] == [2]


def label(offset: int, frauds: int, said: LabelStatement | None) -> EntityItem:
    return EntityItem("card", "card-1", "label", offset, 1_795_256_130_123, 0, 0, frauds, None, said)


def frauds_after(*batches: EntityItems) -> int:
    """Frauds of card-1 after these records, each handled as a chunk of its own."""
    stage, redis, _ = stage_in_memory()
    for offset, batch in enumerate(batches):
        record: Any = Record("entities", 0, offset, 1, None, encode_items(batch), [])
        stage.handle(Chunk("entities", [record], {TP("entities", 0): offset + 1}))
    arena = new_arena(FRAUDS, 1)
    (reply,) = redis.call([("MGET", key(CARD_FRAUDS, "card-1", 1))])
    read_profiles(arena, np.array([0]), reply)
    return int(arena["day_fraud"][0].sum())


def by_label(*items: EntityItem) -> EntityItems:
    return EntityItems("labels", 0, list(items))


def by_decision(*items: EntityItem) -> EntityItems:
    return EntityItems("decisions", 0, list(items))


FIRST, SECOND = LabelStatement("tx-1", 1_000, 4), LabelStatement("tx-1", 2_000, 9)


def test_what_a_label_says_counts_once_whoever_brings_it_and_in_whichever_order() -> None:
    assert frauds_after(by_label(label(4, 1, FIRST)), by_decision(label(70, 1, FIRST))) == 1
    # below an offset that its source has passed: the pair was completed the other way round before a crash
    passed = EntityItem("card", "card-1", "declined", 90, 1_795_256_130_123, 0, 0, 0)
    assert frauds_after(by_decision(passed), by_decision(label(70, 1, FIRST))) == 1
    assert frauds_after(by_label(label(4, 1, FIRST), label(5, 1, LabelStatement("tx-2", 1_000, 5)))) == 2


def test_the_newer_statement_holds_even_when_the_older_one_comes_again() -> None:
    fraud, taken_back = by_label(label(4, 1, FIRST)), by_label(label(9, 0, SECOND))
    assert frauds_after(fraud, taken_back) == 0
    assert frauds_after(fraud, taken_back, fraud) == 0
    assert frauds_after(taken_back, fraud) == 0
    assert frauds_after(fraud, taken_back, by_label(label(12, 1, LabelStatement("tx-1", 2_000, 12)))) == 1


class NeverWritten(SynchronousCommitter):
    """Redis is full: what chunks write waits."""

    idle = False

    def end(self, commit: ChunkCommit) -> None:
        """Nothing is written."""


def test_a_statement_counts_once_also_while_it_is_not_written() -> None:
    redis: Any = MemoryRedis()
    log: Any = MemoryLog()
    leases, cache = Leases(redis, GROUP), ProfileCache(1)
    leases.lease([("entities", 0)])
    cache.begin_session([0])
    stage = EntityStage(
        redis, log, leases, cache, NeverWritten(log, leases), unbounded, LogMarks("", redis, GROUP)
    )
    stage.load_applied([0])
    for offset, batch in enumerate((by_label(label(4, 1, FIRST)), by_decision(label(70, 1, FIRST)))):
        record: Any = Record("entities", 0, offset, 1, None, encode_items(batch), [])
        stage.handle(Chunk("entities", [record], {TP("entities", 0): offset + 1}))
    arena, places = cache.profiles_of(CARD_FRAUDS, cache.slots("card", ["card-1"]))
    assert arena["day_fraud"][places].sum() == 1


def test_items_of_labels_by_older_code_are_changes_known_by_their_offset() -> None:
    older = by_label(label(4, 1, None))
    assert frauds_after(older, older, by_label(label(5, 1, None)), by_label(label(6, -1, None))) == 1


def test_how_old_the_newest_payment_of_each_kind_of_entity_is_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, _, _ = stage_in_memory()
    paid = item("merchant", 0)
    monkeypatch.setattr("time.time", lambda: paid.event_ms / 1000 + 2.5)
    devices = EntityItem("device", "device-1", "label", 0, paid.event_ms - 86_400_000, 100, 0, 1)
    FEATURE_STALENESS.clear()
    record: Any = Record(
        "entities", 0, 0, 1, None, encode_items(EntityItems("transactions", 0, [paid, devices])), []
    )
    stage.handle(Chunk("entities", [record], {TP("entities", 0): 1}))
    told = {
        sample.labels["entity"]: sample.value
        for metric in FEATURE_STALENESS.collect()
        for sample in metric.samples
    }
    # a label is of a payment of long ago and says nothing of the newest
    assert told == {"merchant": pytest.approx(2.5)}


def test_an_update_that_claims_what_its_source_never_had_hides_no_other() -> None:
    """2**62 as the offset of a payment: refused, and the updates after it are applied; the same for labels and for no topic at all."""
    stage, redis, log = stage_in_memory(
        lambda topic, partition: 3 if (topic, partition) == ("transactions", 0) else 0
    )
    lies = [
        ("transactions", 0, 2**62),
        ("transactions", 9, 5_000),
        ("labels", 0, 2**62),
        ("decisions", 1, 2**40),
    ]
    values = [
        encode_items(EntityItems("transactions", 0, [item("merchant", 0)])),
        *(encode_items(EntityItems(topic, p, [item("merchant", offset)])) for topic, p, offset in lies),
        encode_items(EntityItems("transactions", 0, [item("merchant", 1), item("merchant", 2)])),
    ]
    records = [Record("entities", 0, i, 1, None, value, []) for i, value in enumerate(values)]
    stage.handle(Chunk("entities", records, {TP("entities", 0): len(records)}))
    letters = [decode_dead_letter(record.value) for record in log.records("dead-letters")]
    assert [(letter.reason, letter.source_offset) for letter in letters] == [
        ("offset", n) for n in (1, 2, 3, 4)
    ]
    assert "transactions[0], which ends at 3" in letters[0].text
    assert redis.hashes[applied_key(0)] == {b"transactions:0": b"2"}
