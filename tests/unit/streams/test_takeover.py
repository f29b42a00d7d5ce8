"""A processor and the other versions of the state: when it takes over, when it refuses, what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from features.profile.records import STATE_VERSION
from features.store.keys import GROUP, epoch_key, group_of, position_key
from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.state_versions import begin, serving, unfinished_key
from streams.processor import takeover
from streams.processor.state_loss import find_lost
from streams.processor.takeover import NotPrepared, Takeover
from streams.runtime.settings import Settings
from tests.support.parity_world import PARTITIONS, MemoryRedis
from tests.support.takeover_stage import PLACES, TwoVersions

OTHER = STATE_VERSION + 1
SETTINGS = Settings(home="/nowhere", partitions=PARTITIONS)


def position(version: int, topic: str, partition: int) -> str:
    return position_key(topic, partition, group_of(version))


def store_with(positions: dict[int, int], own: int | None = None) -> Any:
    """A store in which other versions, and this one, are applied so far on every partition."""
    redis: Any = MemoryRedis()
    everything = {**positions, **({} if own is None else {STATE_VERSION: own})}
    for version, end in everything.items():
        redis.call([("SADD", "tollgate:state:versions", version)])
        redis.call([("SET", position(version, topic, p), end) for topic, p in PLACES])
    return redis


def looked(redis: Any) -> Takeover:
    nobody: Any = None
    return Takeover(SETTINGS, redis, Leases(redis, GROUP), nobody, nobody, nobody)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of a hundred records is long."""
    monkeypatch.setattr(takeover, "READ_AGAIN_AT_MOST", 100)
    monkeypatch.setattr(
        takeover,
        "whole_log",
        lambda _, topics: ({t: dict.fromkeys(range(PARTITIONS), 20) for t in topics}, {}),
    )


def test_a_state_that_is_not_there_behind_a_long_log_is_refused_and_nobody_is_disturbed() -> None:
    redis = store_with({OTHER: 26})
    before = dict(redis.values)
    for ask in (looked(redis).check, lambda: looked(redis).shut_out(PLACES)):
        with pytest.raises(NotPrepared, match=r"104 records were handled before.*tollgate features prepare"):
            ask()
    assert redis.values == before


def test_behind_a_short_log_it_is_read_again() -> None:
    redis = store_with({OTHER: 25})
    looked(redis).check()
    assert looked(redis).shut_out(PLACES) == dict.fromkeys(PLACES, 25)
    # all partitions of the other are shut out, whichever are this worker's
    assert redis.values[epoch_key("entities", 1, group_of(OTHER))] == b"1"


def test_a_state_that_is_there_is_taken_however_far_it_is_behind() -> None:
    redis = store_with({OTHER: 1_000_000}, own=20)
    looked(redis).check()
    assert looked(redis).shut_out(PLACES[:1]) == {PLACES[0]: 1_000_000}


def test_a_state_older_than_the_log_is_refused() -> None:
    with pytest.raises(NotPrepared, match=r"entities\[0\] from 19 on.*prepare"):
        looked(store_with({OTHER: 30}, own=19)).check()
    # nothing came after it
    looked(store_with({OTHER: 19}, own=19)).check()


def test_half_a_state_is_refused_even_where_there_is_no_other() -> None:
    redis = store_with({}, own=40)
    redis.call(begin(STATE_VERSION, "it is being prepared, or a preparation was interrupted"))
    with pytest.raises(NotPrepared, match=r"incomplete, it is being prepared.*to its end"):
        looked(redis).check()
    # whoever makes all state again makes this one too
    redis.call([("SET", REBUILDING_KEY, "{}")])
    looked(redis).check()
    redis.call([("DEL", REBUILDING_KEY), ("DEL", unfinished_key(STATE_VERSION))])
    looked(redis).check()


def test_state_of_another_version_is_not_lost_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked(*_: Any) -> Any:
        raise AssertionError("the broker was asked")

    monkeypatch.setattr("streams.processor.state_loss.committed", unasked)
    redis = store_with({OTHER: 9})
    assert find_lost(SETTINGS, redis, Leases(redis, GROUP), PLACES) is None
    with pytest.raises(AssertionError, match="the broker was asked"):
        find_lost(SETTINGS, store_with({}), Leases(store_with({}), GROUP), PLACES)


def caught_up(patch: pytest.MonkeyPatch, seed: int) -> TwoVersions:
    """A world that has run on one version, with poison among its items, and was then taken over by the other."""
    stage = TwoVersions(seed, patch)
    patch.setattr(takeover, "READ_AGAIN_AT_MOST", 100_000)
    stage.crashes = False
    stage.run(60)
    stage.log.produce("entities", value=b"\xff\xfe", partition=0)
    stage.send()
    stage.run(0)
    stage.switch()
    return stage


def test_what_was_kept_for_a_person_is_not_kept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = caught_up(monkeypatch, 8)
    letters = [r for r in stage.log.records("dead-letters") if b"entity items" in r.value]
    assert len(letters) == 1
    assert not stage.worker.behind()
    assert serving(stage.stores[1]) == 2  # type: ignore[arg-type]


def test_the_first_features_know_all_that_the_version_before_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entities are caught up before anything is made from them."""
    stage = caught_up(monkeypatch, 8)
    made = len(stage.log.records("features"))
    known = {tx.transaction.merchant_id: tx.as_of[1] for tx in sorted(stage.made(), key=lambda r: r.as_of[1])}
    while len(stage.log.records("features")) == made:
        stage.send()
        stage.worker.step("transactions", 50)
    fresh = stage.made()
    fresh = [
        record
        for record in fresh
        if record.transaction.transaction_id in {tx.transaction_id for tx in stage.sent[-5:]}
    ]
    assert fresh
    assert all(record.as_of[1] >= known.get(record.transaction.merchant_id, -1) for record in fresh)
