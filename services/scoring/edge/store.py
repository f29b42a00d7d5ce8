"""Redis client of the HTTP edge: one pipelined connection for many requests, every call with a timeout.

The processor's blocking client would block the event loop for each round trip. Here the commands are written at once, and
the loop serves other requests until the replies arrive. While Redis is unavailable or silent, calls fail at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from features.store.redis_address import RedisAddress
from features.store.redis_client import (
    BACK_OFF_FIRST_S,
    BACK_OFF_LAST_S,
    Command,
    StoreUnavailable,
    pack,
    replies_in,
    replies_to,
)
from services.scoring.decision.deadline import STORE_LISTEN_S, STORE_SILENT_S
from services.scoring.edge.protocols import StoreLate

logger = logging.getLogger(__name__)

#: after this much silence of the store, the connection is closed and opened again
DEAD_S = 2.0
CONNECT_WITHIN_S = 2.0
MAX_ROUNDS = 20_000


class _Round:
    """Commands sent together, and the replies so far."""

    __slots__ = ("future", "left", "replies", "sent_s")

    def __init__(self, left: int, future: asyncio.Future[list[Any]] | None, sent_s: float) -> None:
        self.left = left
        self.future = future
        self.sent_s = sent_s
        self.replies: list[Any] = []


class _Connection(asyncio.Protocol):
    def __init__(self, lost: asyncio.Event) -> None:
        self.rounds: deque[_Round] = deque()
        self.transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._lost = lost
        #: when data last arrived, by the loop's clock
        self.heard_s = float("-inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        try:
            for reply in replies_in(self._reader, data):
                if not self.rounds:
                    raise hiredis.ProtocolError("a reply without a command")
                head = self.rounds[0]
                head.replies.append(reply)
                head.left -= 1
                if head.left == 0:
                    self.rounds.popleft()
                    if head.future is not None and not head.future.done():
                        head.future.set_result(head.replies)
        except hiredis.ProtocolError as error:
            logger.error("Redis' reply does not parse: %s", error)
            self.drop()

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        for waiting in self.rounds:
            if waiting.future is not None and not waiting.future.done():
                waiting.future.set_exception(StoreUnavailable("the connection to Redis was lost"))
        self.rounds.clear()
        self._lost.set()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class EdgeStore:
    """A pipelined Redis connection that reconnects when it breaks. For one event loop."""

    def __init__(self, address: str, greeting: Sequence[Command] = ()) -> None:
        """``address``: as in ``RedisAddress``; ``greeting``: commands sent first on each connection."""
        self._address = RedisAddress.of(address)
        self._greeting = greeting
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to connect; returns after the first attempt, successful or not."""
        tried = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep_connected(tried))
        await tried.wait()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Send commands in one write and return their replies in order; error replies are ``hiredis.ReplyError``.

        Raises:
            StoreUnavailable: not connected, or silent. StoreLate: some replies did not arrive within ``timeout_s``.
        """
        if not commands:
            return []
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        sent = self._send(commands, future)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        await asyncio.wait((future,), timeout=timeout_s)
        if not future.done():
            # if the loop was late, replies may have arrived unread: extend the wait by that delay
            await asyncio.wait((future,), timeout=max(STORE_LISTEN_S, loop.time() - until_s))
        if future.done():
            return future.result()
        future.cancel()
        raise StoreLate(f"Redis did not answer within {timeout_s * 1000:.0f} ms", list(sent.replies))

    def post(self, commands: Sequence[Command]) -> None:
        """Send commands without waiting for their replies; Redis runs them before any command sent later.

        Raises:
            StoreUnavailable: not connected, or too many replies are outstanding.
        """
        if commands:
            self._send(commands, None)

    def _send(self, commands: Sequence[Command], future: asyncio.Future[list[Any]] | None) -> _Round:
        connection = self._connection
        if connection is None or connection.transport is None:
            raise StoreUnavailable("Redis is not connected")
        now_s = asyncio.get_running_loop().time()
        rounds = connection.rounds
        if rounds:
            # a store that is sending a large reply is not silent
            silent_s = now_s - max(rounds[0].sent_s, connection.heard_s)
            if silent_s > DEAD_S:
                connection.drop()
            # commands without a waiting caller may wait until the store answers again
            if (silent_s > STORE_SILENT_S and future is not None) or len(rounds) >= MAX_ROUNDS:
                raise StoreUnavailable(f"Redis has not answered for {silent_s * 1000:.0f} ms")
        sent = _Round(replies_to(commands), future, now_s)
        rounds.append(sent)
        connection.transport.write(pack(commands))
        return sent

    async def _keep_connected(self, tried: asyncio.Event) -> None:
        pause_s = BACK_OFF_FIRST_S
        while True:
            lost = asyncio.Event()
            try:
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    self._connection = await self._connect(lost)
                    await self._answers()
            except (OSError, TimeoutError, StoreUnavailable) as error:
                logger.warning("Redis cannot be reached, next attempt in %.2f s: %s", pause_s, error)
                self._forget()
                tried.set()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACK_OFF_LAST_S)
                continue
            pause_s = BACK_OFF_FIRST_S
            tried.set()
            try:
                await lost.wait()
            finally:
                self._forget()

    async def _connect(self, lost: asyncio.Event) -> _Connection:
        loop = asyncio.get_running_loop()
        if self._address.path:
            _, made = await loop.create_unix_connection(lambda: _Connection(lost), self._address.path)
        else:
            _, made = await loop.create_connection(
                lambda: _Connection(lost),
                self._address.host,
                self._address.port,
                ssl=self._address.tls_context(),
            )
        return made

    async def _answers(self) -> None:
        """Check that the server answers a read; one that is still loading its data counts as unavailable."""
        first = [*self._address.greeting, ("EXISTS", "tollgate:edge")]
        replies = await self.call([*first, *self._greeting], CONNECT_WITHIN_S)
        for reply in replies[: len(first)]:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(str(reply))
        greeted = replies[len(first) :]
        # a store that refuses writes can still be read
        for refused in (answer for answer in greeted if isinstance(answer, hiredis.ReplyError)):
            logger.warning("Redis refused a command sent on connecting: %s", refused)

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.drop()
        self._connection = None
