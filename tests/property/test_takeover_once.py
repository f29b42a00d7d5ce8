"""Versions of the state take over from each other, forwards and backwards, prepared or not, with crashes: whatever happens,
each transaction's features are made once, from the state that one version alone would have had.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.keys import GROUP, group_of, position_key
from features.store.partition_lease import LeaseLost, Leases
from features.store.state_versions import VERSIONS_KEY
from streams.processor import takeover
from tests.property.test_parity import Stage
from tests.property.test_rebuild import rebuilt
from tests.support.parity_world import PARTITIONS, MemoryRedis, Worker
from tests.support.two_state_versions import Mirror, prepare, reading
from tests.support.whole import whole

PLACES = [(topic, p) for topic in ("transactions", "entities") for p in range(PARTITIONS)]


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
        store, done = self.stores[3 - self.version], Leases(self.redis, GROUP).stored(PLACES)  # type: ignore[arg-type]
        if any(Leases(store, GROUP).stored(PLACES).values()):  # type: ignore[arg-type]
            return
        prepare(store, self.log, {place: end or 0 for place, end in done.items()})

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


def assert_state(stage: TwoVersions) -> None:
    """What the version at work has stored is what the log says."""
    own = f"}}{group_of(stage.version)}:"
    wanted = rebuilt(stage.log, 50)
    real = stage.stores[1]
    assert whole(real.values, stage.version) == {
        key.replace("}v1:", own): profile for key, profile in whole(wanted.values).items()
    }
    for key, fields in wanted.hashes.items():
        assert real.hashes[key.replace("}v1:", own)] == fields


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
        assert {key for key in stage.stores[1].values if key.endswith(":position")} == {
            position_key(*place, group_of(v)) for v in (1, 2) for place in PLACES
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
    mirror.call([("SET", "{t0}v1:position", 4), ("SADD", VERSIONS_KEY, 1)])
    assert store.values == {"{t0}v2:position": b"4"}
    assert store.sets == {VERSIONS_KEY: {b"2"}}
    assert mirror.call([("SMEMBERS", VERSIONS_KEY)]) == [[b"1"]]
    mirror.call([("MSET", b"{e1}v1:merchant:}v1:x", b"}v1:")])
    assert store.values.pop("{e1}v2:merchant:}v1:x") == b"}v1:"
