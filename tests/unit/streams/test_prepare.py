"""Preparing and dropping a version: when there is nothing to do, who may write, what is refused, what is left."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from features.profile.records import STATE_VERSION
from features.store.keys import (
    GROUP,
    applied_key,
    epoch_key,
    group_of,
    key,
    label_statement_key,
    position_key,
    profile_version,
    version_of,
)
from features.store.partition_lease import LeaseLost, Leases
from features.store.redis_client import StoreUnavailable
from features.store.state_versions import begin, others, took_over, unfinished, unfinished_key
from features.store.views import VIEWS
from streams.runtime.settings import Settings
from streams.state import drop_version, prepare
from streams.state.drop_version import VersionInUse
from streams.state.prepare import nothing_to_prepare
from streams.state.rebuild import Done
from tests.support.parity_world import PARTITIONS, MemoryRedis
from tests.support.takeover_stage import PLACES

OTHER = STATE_VERSION + 1
SETTINGS = Settings(home="/nowhere", partitions=PARTITIONS)


class Store(MemoryRedis):
    """With what a drop sends: scans that give two keys at a time, each once, and refusals."""

    refusing = False

    def _one(self, command: Any) -> Any:
        name, rest = command[0], command[1:]
        if name == "SCAN":
            start = int(rest[0])
            if not start:
                # what is there when a scan begins is given, whatever goes meanwhile
                self.scanned = [
                    name.encode() for name in (*self.values, *self.hashes) if fnmatchcase(name, rest[2])
                ]
            more = start + 2 < len(self.scanned)
            return [str(start + 2).encode() if more else b"0", self.scanned[start : start + 2]]
        if name == "UNLINK" and self.refusing:
            return ValueError("READONLY")
        if name == "SREM":
            self.sets[rest[0]].discard(str(rest[1]).encode())
        return super()._one(command)

    def close(self) -> None:
        """As a client's."""


def positions(redis: Any, version: int, end: int) -> None:
    redis.call([("SET", position_key(*place, group_of(version)), end) for place in PLACES])


def test_nothing_is_prepared_where_this_version_is_at_work_or_no_other_has_state() -> None:
    redis: Any = MemoryRedis()
    # nobody has said who is at work: the first version
    assert "version 1, which this code reads" in str(nothing_to_prepare(redis, {}))
    redis.call(took_over(OTHER))
    assert nothing_to_prepare(redis, {}) == "there is no state of any other version"
    assert nothing_to_prepare(redis, {PLACES[0]: 9}) is None


def test_what_is_there_is_made_again_only_where_the_processor_could_not_apply_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "READ_AGAIN_AT_MOST", 100)
    redis: Any = MemoryRedis()
    redis.call(took_over(OTHER))
    positions(redis, STATE_VERSION, 50)
    close, far = dict.fromkeys(PLACES, 75), dict.fromkeys(PLACES, 76)
    assert "100 records behind" in str(nothing_to_prepare(redis, close))
    assert nothing_to_prepare(redis, far) is None
    redis.call(begin(STATE_VERSION, "it was broken off"))
    assert nothing_to_prepare(redis, close) is None


def test_of_two_at_once_the_later_one_writes() -> None:
    redis: Any = MemoryRedis()
    redis.call([*took_over(OTHER), *begin(STATE_VERSION, "it is being prepared")])
    first, later = Leases(redis, GROUP), Leases(redis, GROUP)
    first.lease(PLACES)
    worker = Leases.shared(redis, first.share())
    worker.write([PLACES[0]], {}, [("SET", "profile", "of the first")], {})
    later.lease(PLACES)
    with pytest.raises(LeaseLost):
        worker.write([PLACES[0]], {}, [("SET", "profile", "of the first again")], {})
    done = [Done(topic, partition, 5, 5, [], 5) for topic, partition in PLACES]
    with pytest.raises(LeaseLost):
        prepare._complete(first, PLACES, done)
    assert redis.values["profile"] == b"of the first"
    assert unfinished(redis, STATE_VERSION)
    prepare._complete(later, PLACES, done)
    assert unfinished(redis, STATE_VERSION) is None
    assert Leases(redis, GROUP).stored(PLACES) == dict.fromkeys(PLACES, 5)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store with state of this version, at work, and of another one; both of the same entities, and each of one of its own."""
    redis: Any = Store()
    monkeypatch.setattr(drop_version, "RespClient", lambda _: redis)
    for version in (STATE_VERSION, OTHER):
        for view in VIEWS:
            # as long as ids may be, and one that looks like another key
            for name in ("both", f"only-{version}", "}v1:card:x", "*" * 64):
                redis.call([("SET", key(view, name, PARTITIONS, version), b"x")])
        leases = Leases(redis, group_of(version))
        leases.lease(PLACES)
        positions(redis, version, 40)
        redis.call(
            [("SET", label_statement_key(0, f"card:c:{n}", group_of(version)), "1:1:1") for n in range(5)]
        )
        redis.call([("HSET", applied_key(0, group_of(version)), "labels:0", 4)])
    redis.call([*took_over(OTHER), *took_over(STATE_VERSION)])
    return redis


def there(redis: Any, version: int) -> list[str]:
    """All keys of a version."""
    return sorted(name for name in (*redis.values, *redis.hashes) if version_of(name.encode()) == version)


def test_a_dropped_version_is_gone_and_the_other_is_as_it_was(two: Any) -> None:
    before = there(two, STATE_VERSION)
    assert len(there(two, OTHER)) == len(before) == 4 * len(VIEWS) + 2 * len(PLACES) + 5 + 1
    assert drop_version.drop_version(SETTINGS, OTHER, print) == 4 * len(VIEWS)
    assert there(two, STATE_VERSION) == before
    # who still works on it has an epoch that does not count any more, and that nobody gets again
    assert there(two, OTHER) == sorted(epoch_key(*place, group_of(OTHER)) for place in PLACES)
    assert {two.values[name] for name in there(two, OTHER)} == {b"2"}
    assert others(two) == []
    assert drop_version.drop_version(SETTINGS, OTHER, print) == 0


def test_what_is_broken_off_is_not_taken_for_a_state(two: Any) -> None:
    two.refusing = True
    with pytest.raises(StoreUnavailable, match="READONLY"):
        drop_version.drop_version(SETTINGS, OTHER, print)
    assert unfinished(two, OTHER)
    two.refusing = False
    assert drop_version.drop_version(SETTINGS, OTHER, print) == 4 * len(VIEWS)
    assert unfinished_key(OTHER) not in two.values


def test_what_is_in_use_is_not_dropped(two: Any) -> None:
    with pytest.raises(VersionInUse, match="this code reads"):
        drop_version.drop_version(SETTINGS, STATE_VERSION, print)
    positions(two, OTHER, 41)
    with pytest.raises(VersionInUse, match="still behind"):
        drop_version.drop_version(SETTINGS, OTHER, print)
    two.call(took_over(OTHER))
    with pytest.raises(VersionInUse, match="is in use"):
        drop_version.drop_version(SETTINGS, OTHER, print)
    assert any(profile_version(name.encode()) == OTHER for name in two.values)
