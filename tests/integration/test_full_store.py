"""A real Redis with a password and a limit: who may come in, what it says when it is full, and that nothing half is written."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from features.store.keys import GROUP
from features.store.memory import memory_of
from features.store.partition_lease import Leases
from features.store.redis_client import ASK_ROOM, RespClient, StoreFull, StoreUnavailable, has_room
from infra.stack.health.problems import problems
from infra.stack.tools import find_tools
from services.scoring.edge.store import EdgeStore
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S, until

PLACE = ("transactions", 0)
PASSWORD = "p%40ss"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``unix://`` address, with its password, of a Redis of its own."""
    program = find_tools().redis_server
    assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [
            program,
            "--port",
            "0",
            "--unixsocket",
            path,
            "--save",
            "",
            "--dir",
            folder,
            "--requirepass",
            "p@ss",
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(path.exists, STALL_S, "Redis")
        yield f"unix://:{PASSWORD}@{path}"
    finally:
        process.kill()
        process.wait(STALL_S)


@pytest.fixture
def client(address: str) -> Iterator[RespClient]:
    """A client of an empty Redis; afterwards its limit is gone again."""
    client = RespClient(address)
    # its socket is there a moment before it listens
    client.with_retry([("FLUSHALL",)])
    yield client
    client.call([("CONFIG", "SET", "maxmemory", "0")])


def fill(client: RespClient) -> None:
    """Lower Redis' limit to below what it uses."""
    client.call([("SET", "ballast", b"x" * 2_000_000), ("CONFIG", "SET", "maxmemory", "1mb")])
    assert memory_of(client).share > 1


def test_a_client_with_the_password_comes_in_and_others_hear_why_not(
    address: str, client: RespClient
) -> None:
    assert client.call([("PING",)]) == [b"PONG"]
    for wrong, why in ((address.replace(PASSWORD, "other"), "WRONGPASS"), (address.replace(f":{PASSWORD}@", ""), "NOAUTH")):  # fmt: skip
        replies: list[object] = []
        try:
            replies = RespClient(wrong).call([("PING",)])
        except StoreUnavailable as error:
            replies = [error]
        assert why in str(replies[0])
        assert "p@ss" not in str(replies[0]) and PASSWORD not in str(replies[0])


def test_the_edges_client_comes_in_too(address: str, client: RespClient) -> None:
    async def go() -> None:
        store = EdgeStore(address, [("SET", "greeted", "1")])
        await store.start()
        try:
            assert await store.call([("GET", "greeted")], STALL_S) == [b"1"]
        finally:
            await store.close()
        locked = EdgeStore(address.replace(PASSWORD, "other"))
        await locked.start()
        try:
            with pytest.raises(StoreUnavailable):
                await locked.call([("PING",)], STALL_S)
        finally:
            await locked.close()

    asyncio.run(go())


def test_a_full_redis_refuses_a_chunk_as_a_whole_and_takes_it_once_there_is_room(client: RespClient) -> None:
    leases = Leases(client, GROUP)
    leases.lease([PLACE])
    leases.write([PLACE], {PLACE: 0}, [("SET", "profile", "old")], {PLACE: 5})
    fill(client)
    assert not has_room(client.call([ASK_ROOM])[0])
    with pytest.raises(StoreFull):
        leases.write([PLACE], {PLACE: 5}, [("MSET", "profile", "new", "other", "new")], {PLACE: 9})
    assert client.call([("GET", "profile"), ("EXISTS", "other")]) == [b"old", 0]
    assert leases.stored([PLACE]) == leases.positions([PLACE]) == {PLACE: 5}
    client.call([("UNLINK", "ballast"), ("CONFIG", "SET", "maxmemory", "100mb")])
    assert has_room(client.call([ASK_ROOM])[0])
    leases.write([PLACE], {PLACE: 5}, [("MSET", "profile", "new", "other", "new")], {PLACE: 9})
    assert client.call([("GET", "profile")]) == [b"new"]
    assert leases.stored([PLACE]) == {PLACE: 9}


def test_status_names_a_redis_that_is_full_and_one_that_nearly_is(
    address: str, client: RespClient, tmp_path: Path
) -> None:
    password_and_path = address.removeprefix("unix://:")
    password, _, path = password_and_path.partition("@")
    settings = Settings(home=str(tmp_path), redis=f"redis://:{password}@127.0.0.1:1", redis_socket=path)
    assert settings.redis_address == address
    assert problems(settings, {"redis"}) == []
    used = memory_of(client).used
    client.call([("CONFIG", "SET", "maxmemory", str(int(used * 1.05)))])
    (nearly,) = problems(settings, {"redis"})
    assert "at the limit it refuses writes" in nearly.text
    fill(client)
    (full,) = problems(settings, {"redis"})
    assert "Redis uses" in full.text and "decisions go on" in full.text
    assert not full.stops


def test_a_reply_without_room_is_an_error_like_others(client: RespClient) -> None:
    fill(client)
    (reply,) = client.call([("SET", "a", "b")])
    assert isinstance(reply, hiredis.ReplyError)
