"""What a processor stores, on a real Redis: read by who reads it, swept when it is silent, gone with its version."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from features.store.keys import EVERY_STATE_KEY, GROUP, key, profile_version
from features.store.partition_lease import LeaseLost, Leases
from features.store.profiles.cache import ProfileCache
from features.store.redis_client import Command, RespClient
from features.store.state_versions import removed
from features.store.sweep import DAY_S, KEEP_DAYS, Sweep
from features.store.views import CARD_STATE, VIEWS
from infra.stack.tools import find_tools

PARTITIONS = 3
NAMES = ["a", "}v1:card:a", "*", "x" * 64, "客户-7 é"]
PLACES = [(topic, p) for topic in ("transactions", "entities") for p in range(PARTITIONS)]
NOW_S = 20_800 * DAY_S + 60.0


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RespClient]:
    program, socket = find_tools().redis_server, str(tmp_path / "redis.sock")
    assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
    arguments = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    client = RespClient(f"unix://{socket}")
    try:
        client.with_retry([("PING",)], 20)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def hot_of(now_s: float) -> ProfileCache:
    cache = ProfileCache(PARTITIONS, budget_bytes=1 << 20, clock=lambda: now_s, room=8)
    cache.begin_session(range(PARTITIONS))
    return cache


def wrote(leases: Leases, client: RespClient, now_s: float, names: list[str], offset: int) -> None:
    """One chunk of a worker that has nothing in memory: all views of some entities."""
    cache = hot_of(now_s)
    cache.begin_batch()
    slots = {view: cache.slots(view.entity, names) for view in VIEWS}
    cache.load(client.call(cache.reads()))
    for view, own in slots.items():
        arena, places = cache.profiles_of(view, own)
        arena["offset"][places] = offset
    leases.write(
        PLACES, {}, [cache.write(view, own) for view, own in slots.items()], dict.fromkeys(PLACES, offset)
    )


def offsets(client: RespClient, names: list[str]) -> set[int]:
    cache = hot_of(NOW_S)
    cache.begin_batch()
    slots = {view: cache.slots(view.entity, names) for view in VIEWS}
    cache.load(client.call(cache.reads()))
    return {
        int(o)
        for view, own in slots.items()
        for arena, at in [cache.profiles_of(view, own)]
        for o in arena["offset"][at]
    }


def stored(client: RespClient) -> list[bytes]:
    return [found for found in client.call([("KEYS", EVERY_STATE_KEY)])[0] if profile_version(found)]


def whole_round(client: RespClient, now_s: float) -> int:
    sweep = Sweep(client, lambda: now_s)
    return sum(sweep.step() for _ in range(20))


def test_what_is_written_is_read_and_only_what_is_silent_is_swept(client: RespClient) -> None:
    leases = Leases(client, GROUP)
    leases.lease(PLACES)
    wrote(leases, client, NOW_S - (KEEP_DAYS + 1) * DAY_S, NAMES, 7)
    wrote(leases, client, NOW_S - KEEP_DAYS * DAY_S, ["kept"], 8)
    assert (offsets(client, NAMES), offsets(client, ["kept"]), offsets(client, ["nobody"])) == (
        {7},
        {8},
        {-1},
    )
    assert len(stored(client)) == len(VIEWS) * 6
    # a profile has no time to live
    assert client.call([("TTL", key(CARD_STATE, "a", PARTITIONS))]) == [-1]
    # one of them pays again
    wrote(leases, client, NOW_S, NAMES[:1], 9)
    assert whole_round(client, NOW_S) == len(VIEWS) * (len(NAMES) - 1)
    assert (offsets(client, NAMES), offsets(client, ["kept"])) == ({9, -1}, {8})
    # positions and epochs are no profiles: the worker goes on
    wrote(leases, client, NOW_S, ["later"], 10)
    assert whole_round(client, NOW_S) == 0


class Racing(RespClient):
    """A sweep's client; as soon as it watches keys, ``meanwhile`` is done on another connection."""

    meanwhile: Callable[[], None]

    def call(self, commands: Sequence[Command]) -> list[Any]:
        replies = super().call(commands)
        if commands[0][0] == "WATCH":
            self.meanwhile()
        return replies


def test_who_pays_between_the_sweeps_look_and_its_end_stays(client: RespClient, tmp_path: Path) -> None:
    leases = Leases(client, GROUP)
    leases.lease(PLACES)
    wrote(leases, client, NOW_S - 100 * DAY_S, ["a"], 7)
    racing = Racing(f"unix://{tmp_path / 'redis.sock'}")
    racing.meanwhile = lambda: wrote(leases, client, NOW_S, ["a"], 8)
    assert whole_round(racing, NOW_S) == 0
    assert offsets(client, ["a"]) == {8}
    racing.close()


def test_a_version_goes_whole(client: RespClient) -> None:
    leases = Leases(client, GROUP)
    leases.lease(PLACES)
    wrote(leases, client, NOW_S, NAMES, 7)
    gone = removed(client, lambda found: profile_version(found) == 1, lambda looked, gone: None)
    assert (gone, stored(client)) == (len(VIEWS) * len(NAMES), [])
    # who is shut out writes nothing
    Leases(client, GROUP).lease(PLACES)
    with pytest.raises(LeaseLost):
        wrote(leases, client, NOW_S, NAMES, 8)
    assert stored(client) == []
