"""Redis' address as text, and what a client says first on a new connection."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORT = 6379


class RedisAddress(NamedTuple):
    """``unix://[user]:password@/path`` or ``redis://[user]:password@host:port``, both also without user and password."""

    #: of the unix socket; empty: ``host`` and ``port``
    path: str
    host: str
    port: int
    user: str
    password: str

    @classmethod
    def of(cls, text: str) -> RedisAddress:
        """The address in a text.

        Raises:
            ValueError: the text is no address of these two forms; its password is not repeated.
        """
        url = urlsplit(text)
        user, password = unquote(url.username or ""), unquote(url.password or "")
        if url.scheme == "unix" and url.path:
            return cls(unquote(url.path), "", 0, user, password)
        if url.scheme == "redis" and url.hostname:
            return cls("", url.hostname, url.port or DEFAULT_PORT, user, password)
        shown = text.rpartition("@")[2]
        raise ValueError(f"not an address of Redis: {shown} (redis://host:port or unix:///path)")

    @property
    def greeting(self) -> list[tuple[str, ...]]:
        """Commands to send first on a connection: AUTH, if there is a password."""
        if not self.password:
            return []
        return [("AUTH", self.user, self.password) if self.user else ("AUTH", self.password)]

    def __str__(self) -> str:
        """For messages: without user and password."""
        return f"unix://{self.path}" if self.path else f"redis://{self.host}:{self.port}"
