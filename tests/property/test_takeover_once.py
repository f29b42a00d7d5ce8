"""Versions of the state take over from each other, forwards and backwards, prepared or not, with crashes: whatever happens,
each transaction's features are made once, from the state that one version alone would have had.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.keys import group_of, position_key
from features.store.partition_lease import LeaseLost, Leases
from features.store.state_versions import VERSIONS_KEY
from tests.support.parity_world import MemoryRedis
from tests.support.rebuilt_store import rebuilt
from tests.support.takeover_stage import PLACES, TwoVersions
from tests.support.two_state_versions import Mirror
from tests.support.whole import whole


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
