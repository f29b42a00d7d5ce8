"""A small blocking Redis client for the hot path: commands packed by hiredis, one write and one read per round.

redis-py's pipeline costs the client 10 to 20 us a command, this one 2 to 3 (decision 1). It retries only in ``with_retry``,
because only the caller knows which commands may be repeated.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import hiredis

from features.store.redis_address import RedisAddress

logger = logging.getLogger(__name__)


class Packed(NamedTuple):
    """Commands that the caller has packed itself, and their number."""

    data: bytes
    commands: int


Result = TypeVar("Result")
#: the parts of one command, or several packed commands
Command = tuple[Any, ...] | Packed
#: first and last pause between attempts to reach Redis, seconds
BACK_OFF_FIRST_S, BACK_OFF_LAST_S = 0.02, 1.0
#: seconds that Redis may be down, or its disk full, before the caller gives up and its process is restarted
GIVE_UP_S = 150.0
SAY_EVERY_S = 10.0
#: bytes given to the parser at once: with each reply it moves its whole remaining buffer to the front
FEED_BYTES = 16_384
#: error replies that are temporary; MISCONF: the append-only file cannot be written, nearly always because the disk is full
NOT_NOW = ("LOADING", "MASTERDOWN", "READONLY", "MISCONF")


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as bytes of the Redis protocol."""
    pack_one = hiredis.pack_command
    return b"".join([command.data if type(command) is Packed else pack_one(command) for command in commands])


def replies_to(commands: Sequence[Command]) -> int:
    """The number of replies to these commands."""
    return sum(command.commands if type(command) is Packed else 1 for command in commands)


def pack_sets(pairs: Iterable[tuple[bytes, bytes]], keep_s: int) -> Packed:
    """One SET with an expiry for each (key, value), packed together: five times as fast as packing single commands."""
    line = b"*5\r\n$3\r\nSET\r\n$%%d\r\n%%b\r\n$%%d\r\n%%b\r\n$2\r\nEX\r\n$%d\r\n%d\r\n" % (
        len(str(keep_s)),
        keep_s,
    )
    out = [line % (len(key), key, len(value), value) for key, value in pairs]
    return Packed(b"".join(out), len(out))


def replies_in(reader: hiredis.Reader, data: bytes) -> Iterator[Any]:
    """The replies that ``data`` completes; an incomplete rest stays in the reader.

    Raises:
        hiredis.ProtocolError: the data is not the Redis protocol.
    """
    for start in range(0, len(data), FEED_BYTES):
        reader.feed(data, start, min(FEED_BYTES, len(data) - start))
        while (reply := reader.gets()) is not False:
            yield reply


class StoreUnavailable(Exception):
    """Redis is unreachable, loading, refuses writes, or closed the connection; the commands may or may not have been executed."""


class StoreFull(StoreUnavailable):
    """Redis holds as much as it may (``maxmemory``) and refuses to hold more. Nothing was written; reads and deletions still work."""


#: how Redis begins its refusal of a write for which it has no room, with the policy ``noeviction``
NO_ROOM = "OOM"


def check_room(replies: Sequence[Any], then: str = "") -> None:
    """Raises: StoreFull: Redis had no room for one of these commands; ``then`` says what the user should do."""
    for reply in replies:
        if not has_room(reply):
            raise StoreFull(f"Redis is full{', ' if then else ''}{then}: {reply}")


#: a write that leaves nothing behind: its reply says whether Redis has room
ASK_ROOM: Command = ("SET", "tollgate:room", "", "PX", 1)


def has_room(reply: Any) -> bool:
    """What the reply to ``ASK_ROOM`` says."""
    return not (isinstance(reply, hiredis.ReplyError) and str(reply).startswith(NO_ROOM))


def accepted(replies: Sequence[Any], then: str = "") -> Sequence[Any]:
    """The replies, after a check that none is an error.

    Raises:
        StoreUnavailable: a reply is an error; ``then`` says what the user should do. StoreFull: the reason is that Redis is full.
    """
    check_room(replies, then)
    refused = [str(reply) for reply in replies if isinstance(reply, Exception)]
    if refused:
        said = f"the store refused a write, {then}" if then else "the store refused a write"
        raise StoreUnavailable(f"{said}: {refused[0]}")
    return replies


def retried(attempt: Callable[[], Result], give_up_s: float = GIVE_UP_S) -> Result:
    """Repeat ``attempt`` with growing pauses while it raises StoreUnavailable; logs what it waits for.

    Raises:
        StoreUnavailable: no success within ``give_up_s``.
    """
    began = time.monotonic()
    pause, say_at, said = BACK_OFF_FIRST_S, began + BACK_OFF_LAST_S, False
    while True:
        try:
            result = attempt()
        except StoreUnavailable as error:
            now = time.monotonic()
            if now + pause > began + give_up_s:
                raise
            if now >= say_at:
                logger.warning("waiting for the store, for %.0f s now: %s", now - began, error)
                say_at, said = now + SAY_EVERY_S, True
            time.sleep(pause)
            pause = min(pause * 2, BACK_OFF_LAST_S)
        else:
            if said:
                logger.warning("the store serves again after %.0f s", time.monotonic() - began)
            return result


def scanned(client: RespClient, option: str, value: str | bytes, step: int) -> Iterator[list[bytes]]:
    """Keys that SCAN finds with ``option`` (MATCH, TYPE) ``value``, about ``step`` keys checked per round. A key may come twice.

    Raises:
        StoreUnavailable: Redis did not come back in time.
    """
    cursor = b"0"
    while True:
        cursor, keys = client.with_retry([("SCAN", cursor, option, value, "COUNT", step)])[0]
        if keys:
            yield keys
        if cursor == b"0":
            return


class RespClient:
    """One connection, opened on first use and again after an error. Not thread-safe."""

    def __init__(self, address: str, timeout_s: float = 5.0) -> None:
        """``address``: as in ``RedisAddress``; ``timeout_s`` bounds every read and write."""
        self._address = RedisAddress.of(address)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()

    def call(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies in order; error replies come as ``hiredis.ReplyError``.

        Raises:
            StoreUnavailable: the connection failed, timed out, or Redis says that it cannot serve now.
        """
        if not commands:
            return []
        try:
            return self._exchange(commands)
        except (OSError, hiredis.ProtocolError) as error:
            self.close()
            raise StoreUnavailable(f"Redis at {self._address}: {error}") from error

    def with_retry(self, commands: Sequence[Command], give_up_s: float = GIVE_UP_S) -> list[Any]:
        """Repeat ``call`` with growing pauses until it succeeds; only for commands that may be repeated.

        Raises:
            StoreUnavailable: no success within ``give_up_s``.
        """
        return retried(lambda: self.call(commands), give_up_s)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        if self._socket is None:
            self._socket = self._connect()
            if self._address.greeting:
                refused = next(
                    (r for r in self._exchange(self._address.greeting) if isinstance(r, Exception)), None
                )
                if refused is not None:
                    raise ConnectionRefusedError(str(refused))
        connection = self._socket
        connection.sendall(pack(commands))
        replies: list[Any] = []
        wanted = replies_to(commands)
        while len(replies) < wanted:
            data = connection.recv(1 << 20)
            if not data:
                raise ConnectionResetError("closed by the server")
            for reply in replies_in(self._reader, data):
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(NOT_NOW):
                    raise ConnectionRefusedError(str(reply))
                replies.append(reply)
        if len(replies) > wanted:
            raise hiredis.ProtocolError(f"{len(replies)} replies to {wanted} commands")
        return replies

    def _connect(self) -> socket.socket:
        self._reader = hiredis.Reader()
        if self._address.path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout_s)
            connection.connect(self._address.path)
        else:
            connection = socket.create_connection((self._address.host, self._address.port), self._timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = self._address.tls_context()
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname=self._address.host)
        return connection
