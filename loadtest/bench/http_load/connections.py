"""Keep-alive HTTP/1.1 connections with one request in flight each, as cheap as Python allows (about 20 us a request).

Locust takes 300 us and more for a request, wrk cannot offer a fixed rate: neither shows what an edge does at 2,000/s and
beyond on two cores without being most of the load itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: called with (status, body, number of the request, when it was due); status 0: the connection broke
Answered = Callable[[int, bytes, int, float], None]
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One connection; ``pool`` gets it back after each answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._number, self._due_s, self._busy = 0, 0.0, False
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, number: int, due_s: float) -> None:
        assert self._transport is not None
        self._number, self._due_s, self._busy = number, due_s, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # a 408 on an idle connection, before the server closes it, is no answer to a request
            self.close()
            return
        if self._held:
            data = self._held + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or len(data) < head + 4 + _body_length(data, head):
            self._held = data
            return
        self._held, self._busy = b"", False
        self._pool.back(self)
        self._pool.answered(int(data[9:12]), data[head + 4 :], self._number, self._due_s)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._pool.lost(self)
        if self._busy:
            self._busy = False
            self._pool.answered(0, b"", self._number, self._due_s)

    @property
    def alive(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _body_length(data: bytes, head: int) -> int:
    lower = data[:head].lower()
    at = lower.find(_LENGTH)
    if at < 0:
        return 0
    end = lower.find(b"\r\n", at)
    return int(lower[at + len(_LENGTH) : end if end >= 0 else head])


class Pool:
    """At most ``most`` connections; requests beyond that wait here, and their wait counts."""

    def __init__(self, host: str, port: int, most: int, answered: Answered) -> None:
        self.answered = answered
        self._host, self._port, self._most = host, port, most
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[bytes, int, float]] = deque()

    def send(self, request: bytes, number: int, due_s: float) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                connection.send(request, number, due_s)
                return
        self._waiting.append((request, number, due_s))
        if len(self._all) + self._opening < self._most and self._opening < len(self._waiting):
            self._open()

    def back(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._all.discard(connection)

    @property
    def connected(self) -> int:
        """Connections that stand."""
        return len(self._all)

    async def open(self, count: int) -> None:
        """Open ``count`` connections before anything is sent."""
        for _ in range(count):
            self._open()
        await asyncio.gather(*self._tasks)

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()

    def _open(self) -> None:
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._opened())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _opened(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        except OSError:
            if self._waiting:
                _, number, due_s = self._waiting.popleft()
                self.answered(0, b"", number, due_s)
            return
        finally:
            self._opening -= 1
        self._all.add(connection)
        self.back(connection)
