"""Versions of the state take over from each other, forwards and backwards, prepared or not, with crashes: whatever happens,
each transaction's features are made once, from the state that one version alone would have had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.keys import fields_of, hash_field, views_of
from features.store.partition_lease import LeaseLost, Leases
from features.store.state_versions import group_of
from streams.processor import takeover
from streams.runtime.kafka.log_reader import Span
from streams.state.rebuild import EntityBuilder, new_builder
from tests.property.test_parity import Stage
from tests.property.test_rebuild import rebuilt, rows_of, stretch_of
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker
from tests.support.two_state_versions import Mirror
from tests.support.whole import whole

PLACES = [(topic, p) for topic in ("transactions", "entities") for p in range(PARTITIONS)]


class Message:
    """A record of the log as the broker's client gives it."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def topic(self) -> str:
        return str(self._record.topic)

    def partition(self) -> int:
        return int(self._record.partition)

    def offset(self) -> int:
        return int(self._record.offset)

    def timestamp(self) -> tuple[int, int]:
        return 1, self._record.timestamp

    def value(self) -> bytes | None:
        return self._record.value  # type: ignore[no-any-return]

    def headers(self) -> Any:
        return self._record.headers


def reading(log: MemoryLog) -> Callable[..., int]:
    """``read_span`` of a log in memory."""

    def read_span(
        _address: str, start: Span, end: Span, handle: Callable[[list[Any]], None], **_: Any
    ) -> int:
        count = 0
        for topic, ends in end.items():
            records = [
                Message(r) for p, last in ends.items() for r in log.topics[topic, p][start[topic][p] : last]
            ]
            # in two pieces, so that chunks follow each other
            for part in (records[: len(records) // 2], records[len(records) // 2 :]):
                if part:
                    handle(part)
            count += len(records)
        return count

    return read_span


class TwoVersions(Stage):
    """The little world, whose worker is replaced by one of the other version now and then."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        super().__init__(seed)
        self.stores = {1: self.redis, 2: Mirror(self.redis)}
        self.version = 1
        self.crashes = True
        patch.setattr(takeover, "read_span", reading(self.log))
        patch.setattr(
            takeover,
            "whole_log",
            lambda _, topics: ({t: dict.fromkeys(range(PARTITIONS), 0) for t in topics}, {}),
        )

    def chunk(self, crash: bool | None = None) -> None:
        super().chunk(crash if self.crashes else False)

    def switch(self) -> None:
        """A worker of the other version; the one before may be anywhere in its work."""
        self.version = 3 - self.version
        self.redis = self.stores[self.version]
        self.worker = Worker(self.log, self.redis)

    def prepare(self) -> None:
        """The other version's state made from the log, as far as the one at work is, by the builders of rebuilds."""
        store, done = self.stores[3 - self.version], Leases(self.redis, group_of(1)).stored(PLACES)  # type: ignore[arg-type]
        if any(Leases(store, group_of(1)).stored(PLACES).values()):  # type: ignore[arg-type]
            return
        for (topic, partition), end in done.items():
            builder = new_builder(topic, partition, PARTITIONS)
            applied = self.log.topics.get((topic, partition), [])[: end or 0]
            if isinstance(builder, EntityBuilder):
                builder.add(rows_of(applied, partition))
            else:
                builder.add(stretch_of(applied, partition))
            store.call([*builder.writes()])
            if isinstance(builder, EntityBuilder):
                store.call([*builder.said(), *builder.applied_writes()])
            store.call([("SET", f"tollgate:processor:position:{topic}:{partition}", end or 0)])

    def run_with_switches(self, steps: int) -> None:
        actions = [self.send, self.send, self.chunk, self.chunk, self.chunk, self.label]
        for _ in range(steps):
            self.random.choice(actions)()
            if self.random.random() < 0.1:
                self.prepare()
            if self.random.random() < 0.1:
                self.switch()
        self.run(0)

    def counted(self) -> Counter[str]:
        """How often each transaction's features count, by scoring's rule: nothing at or below the last source offset."""
        last: dict[int, int] = {}
        found: Counter[str] = Counter()
        for made in self.made():
            if made.offset > last.get(made.partition, -1):
                last[made.partition] = made.offset
                found[made.transaction.transaction_id] += 1
        return found


#: fields that a rebuild knows too: what is published as of the last payment it does not
COMPARED = [
    (one, two)
    for view, other in zip(views_of(1), views_of(2), strict=True)
    for one, two in zip(fields_of(view), fields_of(other), strict=True)
    if one not in (hash_field("card_state", "count_24h"), hash_field("card_state", "sum_24h_minor"))
]


def assert_state(stage: TwoVersions) -> None:
    """What the version at work has stored is what the log says."""
    real, wanted = whole(stage.stores[1].hashes), whole(rebuilt(stage.log, 50).hashes)
    for key, fields in wanted.items():
        if isinstance(key, str):
            key = key.replace("processor", group_of(stage.version))
        for pair in COMPARED:
            own = pair[stage.version - 1]
            assert real[key].get(own) == fields.get(pair[0]), (key, own)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_versions_take_over_and_nothing_is_missing_or_doubled(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stage = TwoVersions(seed, patch)
        stage.run_with_switches(60)
        sent = {tx.transaction_id for tx in stage.sent}
        assert stage.counted() == Counter(dict.fromkeys(sent, 1))
        assert_state(stage)
        samples = stage.samples()
        verdict = stage.judged(samples)
        assert (verdict.identical, verdict.differing) == (len(sent), [])


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_without_crashes_a_takeover_repeats_nothing(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stage = TwoVersions(seed, patch)
        stage.crashes = False
        stage.run_with_switches(60)
        made = stage.made()
        assert len({(record.partition, record.offset) for record in made}) == len(made)
        assert len(made) == len({tx.transaction_id for tx in stage.sent})
        # poison is kept once too
        assert len(stage.log.records("dead-letters")) == sum(
            1 for record in stage.log.records("transactions") if record.value == b"not json"
        )


def test_the_world_switches_both_ways_prepared_and_not() -> None:
    """So that the properties above say something."""
    with pytest.MonkeyPatch.context() as patch:
        stage = TwoVersions(5, patch)
        stage.run_with_switches(40)
        behind = dict(Leases(stage.stores[1], group_of(3 - stage.version)).stored(PLACES))  # type: ignore[arg-type]
        stage.switch()
        caught_up = Leases(stage.stores[1], group_of(stage.version)).stored(PLACES)  # type: ignore[arg-type]
        assert sum(v or 0 for v in caught_up.values()) > sum(v or 0 for v in behind.values())
        assert {key for key in stage.stores[1].values if ":position:" in key} == {
            f"tollgate:{group_of(v)}:position:{topic}:{p}" for v in (1, 2) for topic, p in PLACES
        }


def test_a_worker_of_the_other_version_that_wakes_cannot_write() -> None:
    with pytest.MonkeyPatch.context() as patch:
        stage = TwoVersions(3, patch)
        stage.run(30)
        zombie = stage.worker
        stage.switch()
        stage.send()
        before = dict(stage.stores[1].values)
        with pytest.raises(LeaseLost):
            for _ in range(20):
                zombie.step("transactions", 5)
        assert stage.stores[1].values == before


def test_the_mirror_shows_each_version_as_the_other() -> None:
    store = MemoryRedis()
    mirror = Mirror(store)
    mirror.call(
        [("SET", "tollgate:processor:position:transactions:0", 4), ("SADD", "tollgate:state:versions", 1)]
    )
    assert store.values == {"tollgate:processor-v2:position:transactions:0": b"4"}
    assert store.sets == {"tollgate:state:versions": {b"2"}}
    assert mirror.call([("SMEMBERS", "tollgate:state:versions")]) == [[b"1"]]
    one, two = views_of(1)[0], views_of(2)[0]
    mirror.call([("HSET", b"key", fields_of(one)[0], b"x")])
    assert store.hashes == {b"key": {fields_of(two)[0]: b"x"}}
