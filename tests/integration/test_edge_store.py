"""The edge's Redis connection against a real server that is frozen, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from features.store.redis_client import StoreUnavailable
from infra.stack.tools import find_tools
from services.scoring.decision.deadline import STORE_SILENT_S
from services.scoring.edge.protocols import StoreLate
from services.scoring.edge.store import EdgeStore
from tests.support.running import stand_still

WITHIN_S = 15.0


class Server:
    """A redis-server on a unix socket of its own."""

    def __init__(self, folder: Path) -> None:
        program = find_tools().redis_server
        assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
        self.address = f"unix://{folder / 'redis.sock'}"
        self._command = [
            program, "--port", "0", "--unixsocket", str(folder / "redis.sock"), "--save", "", "--dir", str(folder),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[EdgeStore]:
    store = EdgeStore(server.address)
    await store.start()
    try:
        await answers(store)
        yield store
    finally:
        await store.close()


async def answers(store: EdgeStore) -> None:
    """Wait until the store answers again."""
    end = time.monotonic() + WITHIN_S
    while True:
        try:
            assert await store.call([("PING",)], 2.0) == [b"PONG"]
            return
        except StoreUnavailable:
            assert time.monotonic() < end, "the store did not come back"
            await asyncio.sleep(0.02)


def test_rounds_of_many_callers_keep_their_replies(server: Server) -> None:
    async def go() -> None:
        async with connected(server) as store:
            calls = [store.call([("SET", f"k{i}", i), ("GET", f"k{i}")], 5.0) for i in range(200)]
            store.post([("INCR", "posted")])
            assert await asyncio.gather(*calls) == [[b"OK", str(i).encode()] for i in range(200)]
            assert await store.call([("GET", "posted")], 5.0) == [b"1"]

    asyncio.run(go())


def test_a_frozen_server_costs_one_wait_and_then_none(server: Server) -> None:
    async def go() -> None:
        async with connected(server) as store:
            stand_still(server.process.pid)
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="did not answer within 200 ms"):
                await store.call([("GET", "k")], 0.2)
            assert 0.15 < time.monotonic() - started < 2
            with pytest.raises(StoreUnavailable, match="has not answered for"):
                await store.call([("GET", "k")], 30.0)
            store.post([("SET", "k", "later")])
            server.process.send_signal(signal.SIGCONT)
            await answers(store)

    asyncio.run(go())


def test_a_killed_server_is_found_again(server: Server) -> None:
    async def go() -> None:
        async with connected(server) as store:
            server.kill()
            end = time.monotonic() + WITHIN_S
            while time.monotonic() < end:
                try:
                    await store.call([("PING",)], 1.0)
                except StoreUnavailable:
                    break
            with pytest.raises(StoreUnavailable):
                store.post([("SET", "k", "v")])
            server.start()
            await answers(store)

    asyncio.run(go())


def test_starting_without_a_server_does_not_wait_for_it(tmp_path: Path) -> None:
    async def go() -> None:
        store = EdgeStore(f"unix://{tmp_path / 'absent.sock'}")
        started = time.monotonic()
        await store.start()
        assert time.monotonic() - started < 5
        with pytest.raises(StoreUnavailable, match="not connected"):
            await store.call([("PING",)], 1.0)
        await store.close()

    asyncio.run(go())


def test_what_is_said_first_is_said_again_to_a_server_that_forgot_it(server: Server) -> None:
    async def known(store: EdgeStore) -> list[Any]:
        return await store.call([("GET", "greeting")], 5.0)

    async def go() -> None:
        store = EdgeStore(server.address, [("SET", "greeting", "hello")])
        await store.start()
        try:
            await answers(store)
            assert await known(store) == [b"hello"]
            server.kill()
            # it keeps nothing on disk
            server.start()
            await answers(store)
            assert await known(store) == [b"hello"]
        finally:
            await store.close()

    asyncio.run(go())


def test_a_server_that_takes_no_writes_is_still_read(server: Server) -> None:
    async def go() -> None:
        store = EdgeStore(server.address, [("NOSUCHCOMMAND", "greeting")])
        await store.start()
        try:
            await answers(store)
        finally:
            await store.close()

    asyncio.run(go())


class Dripping(asyncio.Protocol):
    """A server whose answer comes in pieces: each when told."""

    made: list[Dripping]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.asked = transport, b""
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.asked += data
        if b"EXISTS" in data:
            self.transport.write(b":0\r\n")


def test_an_answer_that_keeps_coming_is_no_silence(tmp_path: Path) -> None:
    async def go() -> None:
        Dripping.made = []
        loop = asyncio.get_running_loop()
        address = str(tmp_path / "drip.sock")
        listening = await loop.create_unix_server(Dripping, address)
        store = EdgeStore(f"unix://{address}")
        await store.start()
        (server,), connection = Dripping.made, store._connection
        assert connection is not None
        large = asyncio.create_task(store.call([("MGET", *"abcdefgh")], WITHIN_S))
        began = time.monotonic()
        async with asyncio.timeout(WITHIN_S):
            while b"MGET" not in server.asked:
                await asyncio.sleep(0)
            server.transport.write(b"*8\r\n")
            for _ in range(8):
                await asyncio.sleep(STORE_SILENT_S / 2)
                heard_s = connection.heard_s
                server.transport.write(b"$1\r\nx\r\n")
                while connection.heard_s == heard_s:
                    await asyncio.sleep(0)
                # what is asked meanwhile is asked: nobody calls the store silent
                small = asyncio.create_task(store.call([("GET", "k")], WITHIN_S))
                await asyncio.sleep(0)
                assert not small.done()
            assert time.monotonic() - began > 2 * STORE_SILENT_S
            assert await large == [[b"x"] * 8]
        listening.close()
        await store.close()

    asyncio.run(go())


def test_what_came_in_time_is_told_and_what_comes_late_is_nobody_elses(tmp_path: Path) -> None:
    async def go() -> None:
        Dripping.made = []
        at = str(tmp_path / "halting.sock")
        listening = await asyncio.get_running_loop().create_unix_server(Dripping, at)
        store = EdgeStore(f"unix://{at}")
        await store.start()
        (server,) = Dripping.made
        halting = asyncio.create_task(store.call([("GET", key) for key in "abc"], 0.05))
        other = asyncio.create_task(store.call([("GET", "d")], WITHIN_S))
        async with asyncio.timeout(WITHIN_S):
            while b"GET" not in server.asked:
                await asyncio.sleep(0)
            server.transport.write(b"$1\r\na\r\n$1\r\nb\r\n$1")
            with pytest.raises(StoreLate) as late:
                await halting
            assert late.value.replies == [b"a", b"b"]
            server.transport.write(b"\r\nc\r\n$1\r\nd\r\n")
            assert await other == [b"d"]
        assert late.value.replies == [b"a", b"b"]
        listening.close()
        await store.close()

    asyncio.run(go())


def test_a_loop_that_was_late_takes_the_answer_that_is_there(server: Server) -> None:
    async def go() -> None:
        async with connected(server) as store:
            # more than one read brings
            said = b"here" * 50_000
            asked = asyncio.create_task(store.call([("SET", "k", said), *[("GET", "k")] * 2], 0.05))
            await asyncio.sleep(0)
            # the loop stands still, the store does not
            time.sleep(0.3)
            assert await asked == [b"OK", said, said]

    asyncio.run(go())
    uvloop.run(go())
