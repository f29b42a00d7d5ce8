"""State rebuilt from the log is, byte for byte, what the processor keeps, whatever chunks, repetitions and crashes there were."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.keys import VIEWS, entity_key, hash_field
from features.store.redis_client import StoreUnavailable, accepted
from streams.processor.intake import Stretch
from streams.runtime.kafka.log_reader import LogRow
from streams.state.rebuild import CardBuilder, EntityBuilder
from streams.state.rebuild_log import AGAIN
from tests.property.test_parity import Stage
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis
from tests.support.whole import whole

FIELDS = [hash_field(view.name, name) for view in VIEWS for name, _ in view.fields]
#: published for readers of Feast as of the payment that came last, which a rebuild does not know: as of the newest
PUBLISHED = {hash_field("card_state", "count_24h"), hash_field("card_state", "sum_24h_minor")}


def stretch_of(records: list[Any], partition: int) -> Stretch:
    return Stretch(
        partition, [r.offset for r in records], [r.timestamp for r in records], [r.value for r in records],
        [r.headers or None for r in records],
    )  # fmt: skip


def rows_of(records: list[Any], partition: int) -> list[LogRow]:
    return [LogRow(partition, r.offset, r.timestamp, r.value, None) for r in records]


def rebuilt(log: MemoryLog, most: int) -> MemoryRedis:
    """A store that only the builders wrote to, fed ``most`` records at a time."""
    redis = MemoryRedis()
    for partition in range(PARTITIONS):
        builders: list[tuple[str, Any, Any]] = [
            ("transactions", CardBuilder(PARTITIONS), stretch_of),
            ("entities", EntityBuilder(partition), rows_of),
        ]
        for topic, builder, form in builders:
            records = log.topics.get((topic, partition), [])
            for start in range(0, len(records), most):
                builder.add(form(records[start : start + most], partition))
            redis.call([*builder.writes()])
            if isinstance(builder, EntityBuilder):
                redis.call([*builder.said(), *builder.applied_writes()])
    return redis


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50))
def test_rebuilt_state_is_the_processors(seed: int, most: int) -> None:
    stage = Stage(seed)
    stage.run(60)
    again = rebuilt(stage.log, most)
    # the ledger index is no part of the state
    state = {key: fields for key, fields in stage.redis.hashes.items() if ":index:" not in str(key)}
    assert set(again.hashes) == set(state)
    said = {key: value for key, value in stage.redis.values.items() if ":said:" in key}
    assert said == {key: value for key, value in again.values.items() if ":said:" in key}
    built = whole(again.hashes)
    for key, fields in whole(state).items():
        for field in set(fields) - PUBLISHED:
            assert built[key][field] == fields[field], (key, field)


def test_the_comparison_sees_profiles() -> None:
    stage = Stage(3)
    stage.run(120)
    again = rebuilt(stage.log, 10)
    key = entity_key("card", "card-1")
    assert set(again.hashes[key]) & set(FIELDS)
    stage.redis.hashes[key][FIELDS[0]] += b"x"
    assert again.hashes[key] != stage.redis.hashes[key]


def test_a_refused_write_ends_the_rebuild_in_words() -> None:
    with pytest.raises(StoreUnavailable, match="run the rebuild again: OOM"):
        accepted([b"OK", hiredis.ReplyError("OOM command not allowed")], AGAIN)
    accepted([b"OK", [1, 2]], AGAIN)
