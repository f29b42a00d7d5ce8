"""Redis' address as text, and what a client says first on a new connection."""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT = 6379


class RedisAddress(NamedTuple):
    """``unix://[user]:password@/path``, ``redis://[user]:password@host:port`` or ``rediss://...`` (TLS), also without user and password.

    With TLS the query names files (PEM), as redis-py has it: ``?ssl_ca_certs=&ssl_certfile=&ssl_keyfile=``.
    """

    #: of the unix socket; empty: ``host`` and ``port``
    path: str
    host: str
    port: int
    user: str
    password: str
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @classmethod
    def of(cls, text: str) -> RedisAddress:
        """The address in a text.

        Raises:
            ValueError: the text is no address of these forms; its password is not repeated.
        """
        url = urlsplit(text)
        user, password = unquote(url.username or ""), unquote(url.password or "")
        if url.scheme == "unix" and url.path:
            return cls(unquote(url.path), "", 0, user, password)
        if url.scheme in ("redis", "rediss") and url.hostname:
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            files = (query.get(name, "") for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
            port = url.port or DEFAULT_PORT
            return cls("", url.hostname, port, user, password, url.scheme == "rediss", *files)
        shown = text.rpartition("@")[2]
        raise ValueError(
            f"not an address of Redis: {shown} (redis://host:port, rediss://host:port or unix:///path)"
        )

    @property
    def greeting(self) -> list[tuple[str, ...]]:
        """Commands to send first on a connection: AUTH, if there is a password."""
        if not self.password:
            return []
        return [("AUTH", self.user, self.password) if self.user else ("AUTH", self.password)]

    def tls_context(self) -> ssl.SSLContext | None:
        """The context of a client that checks the server's certificate and name; None without TLS.

        Raises:
            OSError: a file of the address cannot be read.
        """
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context

    def __str__(self) -> str:
        """For messages: without user and password."""
        if self.path:
            return f"unix://{self.path}"
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}"
