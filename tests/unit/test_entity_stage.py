"""Poison on `entities`: kept for a person, and the items around it are applied."""

from __future__ import annotations

from typing import Any

from faust.types import TP

from features.online.claims import Claims
from streams.chunks import Chunk
from streams.dead_letters import decode_dead_letter
from streams.processor.entities import EntityStage
from streams.records import EntityItem, EntityItems, encode_items
from tests.property.parity_world import MemoryLog, MemoryRedis, Record


def item(entity: str, offset: int) -> EntityItem:
    return EntityItem(entity, f"{entity}-1", "tx", offset, 1_795_256_130_123, 100, 1, 0)


def test_poison_is_kept_and_the_rest_applied() -> None:
    redis: Any = MemoryRedis()
    log: Any = MemoryLog()
    claims = Claims(redis, "processor")
    claims.claim([("entities", 0)])
    stage = EntityStage(redis, log, claims)
    stage.load_applied([0])
    values = [
        encode_items(EntityItems("transactions", 0, [item("merchant", 0)])),
        None,
        b"",
        b"\xff\xfe",
        encode_items(EntityItems("transactions", 0, [item("unicorn", 1)])),
        encode_items(EntityItems("transactions", 0, [item("merchant", 2)])),
    ]
    records = [Record("entities", 0, i, 1, None, value, []) for i, value in enumerate(values)]  # type: ignore[arg-type]
    stage.handle(Chunk("entities", records, {TP("entities", 0): len(records)}))
    letters = [decode_dead_letter(record.value) for record in log.records("dead-letters")]
    assert [letter.source_offset for letter in letters] == [1, 2, 3, 4]
    assert {letter.reason for letter in letters} == {"poison"}
    # both good items count: the last one applied is the last one sent
    applied = redis.call([("HGETALL", "tollgate:processor:applied:entities:0")])[0]
    assert [int(value) for value in applied[1::2]] == [2]
