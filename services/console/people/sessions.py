"""Sessions in Redis: an opaque random token in a cookie, of which only the SHA-256 is stored; they end by themselves.

Redis also counts what was tried at the door, so that limits hold across restarts of the console.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from features.store.redis_client import Command, accepted
from services.console.people.provider import Begun

#: a session ends after so long without a request, and in any case after so long
IDLE_S, LONGEST_S = 45 * 60, 12 * 3600
PREFIX = "tollgate:console:"


class Store(Protocol):
    """What is needed of Redis: commands in, replies out. Raises: StoreUnavailable."""

    def call(self, commands: list[Command]) -> list[Any]: ...


class OneAtATime:
    """A store for many threads over a client for one."""

    def __init__(self, client: Any) -> None:
        self._client, self._lock = client, threading.Lock()

    def call(self, commands: list[Command]) -> list[Any]:
        """As the client's."""
        with self._lock:
            replies: list[Any] = self._client.call(commands)
            return replies


class Session(msgspec.Struct, frozen=True):
    """Who is signed in. ``member_since``: of the directory's member, so that a session ends with a revocation."""

    name: str
    member_since: datetime
    began_s: float
    #: for the audit; says nothing about the token
    id: str
    #: until then the person also may what an emergency needs (``services.console.people.caller``)
    glass_until_s: float = 0.0


class Sessions:
    """The sessions of one console."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, name: str, member_since: datetime, now_s: float) -> tuple[str, Session]:
        """A new session, with the token for its cookie."""
        token = secrets.token_urlsafe(32)
        session = Session(name, member_since, now_s, secrets.token_hex(6))
        accepted(self._store.call([("SET", _key(token), msgspec.json.encode(session), "EX", IDLE_S)]))
        return token, session

    def find(self, token: str, now_s: float) -> Session | None:
        """The session of a token, which lives on for ``IDLE_S`` from now; None if there is none, or it is too old."""
        raw = self._store.call([("GET", _key(token))])[0]
        if not isinstance(raw, bytes):
            return None
        session = msgspec.json.decode(raw, type=Session)
        left_s = session.began_s + LONGEST_S - now_s
        if left_s <= 0:
            self.end(token)
            return None
        self._store.call([("EXPIRE", _key(token), max(1, int(min(IDLE_S, left_s))))])
        return session

    def replace(self, token: str, session: Session) -> None:
        """Change the session of a token, which lives on for ``IDLE_S`` from now."""
        accepted(self._store.call([("SET", _key(token), msgspec.json.encode(session), "EX", IDLE_S)]))

    def peek(self, token: str) -> Session | None:
        """The session of a token, which does not live longer for it."""
        raw = self._store.call([("GET", _key(token))])[0]
        return msgspec.json.decode(raw, type=Session) if isinstance(raw, bytes) else None

    def end(self, token: str) -> None:
        """End a session."""
        self._store.call([("DEL", _key(token))])

    def remember(self, state: str, begun: Begun, lives_s: int) -> None:
        """Keep a sign-in that went to the provider under its state."""
        accepted(self._store.call([("SET", _begun_key(state), msgspec.json.encode(begun), "EX", lives_s)]))

    def recall(self, state: str) -> Begun | None:
        """The sign-in of a state, once; None if it is unknown, used or too old."""
        raw, _ = self._store.call([("GET", _begun_key(state)), ("DEL", _begun_key(state))])
        return msgspec.json.decode(raw, type=Begun) if isinstance(raw, bytes) else None

    def attempts(self, what: str, within_s: int) -> int:
        """Count one more attempt of a kind and return how many there were in its window, which begins with the first."""
        key = f"{PREFIX}tried:{what}"
        # the expiry first: a count that never ends would lock a name for ever
        begun: list[Command] = [("SET", key, b"0", "EX", within_s, "NX"), ("INCR", key)]
        return int(accepted(self._store.call(begun))[1])

    def tried(self, what: str) -> tuple[int, int]:
        """(attempts in the window, seconds until it ends)."""
        key = f"{PREFIX}tried:{what}"
        count, left_s = self._store.call([("GET", key), ("TTL", key)])
        return int(count) if isinstance(count, bytes) else 0, max(0, int(left_s))

    def forgive(self, what: str) -> None:
        """Forget the attempts of a kind."""
        self._store.call([("DEL", f"{PREFIX}tried:{what}")])


def ends_at(session: Session, now_s: float) -> datetime:
    """When the session ends if nothing is asked until then."""
    return datetime.fromtimestamp(min(now_s + IDLE_S, session.began_s + LONGEST_S), UTC)


def _begun_key(state: str) -> str:
    return f"{PREFIX}oidc:{hashlib.sha256(state.encode()).hexdigest()}"


def _key(token: str) -> str:
    return f"{PREFIX}session:{hashlib.sha256(token.encode()).hexdigest()}"
