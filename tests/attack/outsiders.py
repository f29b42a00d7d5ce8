"""Outsiders without a key: slow clients that would hold the edge's connections, and other users of the machine."""

from __future__ import annotations

import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.stack.ports import port_of
from infra.stack.supervisor import marked
from streams.runtime.settings import Settings
from tests.attack.registry import Finding, attack
from tests.support.waiting import STALL_S

#: more than the edge's HAProxy takes by Ray Serve's own limit
SLOW_CLIENTS = 4_100
#: a broker that takes nobody without a password says nothing
REFUSED_WITHIN_S = 5.0
LOOPBACK = ("127.", "::1", "::ffff:127.")
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: edge\r\nX-Slow: "
BODY = HEAD + b"1\r\nContent-Length: 500\r\n\r\n{"


@attack("slow clients on the edge")
def slow_clients(settings: Settings) -> Finding:
    """Connections that send part of a head or of a body and then nothing: others are served, and the slow ones are cut off."""
    with _many_files() as limit, _slow(settings, min(SLOW_CLIENTS, limit // 4)) as slow:
        served = httpx.get(f"{settings.http}/healthz", timeout=STALL_S).status_code
        answers = [_all_of(connection)[:12] for connection in (slow[0], slow[-1])]
    held = served == 200 and answers == [b"HTTP/1.1 408"] * 2
    return Finding(held, f"{len(slow):,} slow connections; another client got {served}, they got {answers}")


@attack("another user of the machine")
def another_user(settings: Settings) -> Finding:
    """Ports beyond loopback, servers without a password, files and sockets that another user may open."""
    openings = [
        f"{process.name()} listens on {connection.laddr.ip}:{connection.laddr.port}"
        for process in marked(settings)
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN" and not connection.laddr.ip.startswith(LOOPBACK)
    ]
    tls = {"ssl_ca_certs": str(settings.secure_files.ca)} if settings.secure else {}
    try:
        redis.Redis.from_url(settings.redis_shown, socket_timeout=STALL_S, **tls).ping()
        openings.append("Redis asks for no password")
    except redis.exceptions.AuthenticationError:
        pass
    if settings.secure:
        openings += _without_a_password(settings)
    openings += [f"others may enter {folder}" for folder in _open_folders(settings)]
    return Finding(not openings, "; ".join(openings) or "nothing is open")


def _without_a_password(settings: Settings) -> Iterator[str]:
    """Of the servers that only a secured stack closes to its own machine: those that answer."""
    asked = {
        "/api/v1/query?query=up": settings.prometheus, "/api/v2/alerts": settings.alertmanager,
        "/api/2.0/mlflow/experiments/get-by-name?experiment_name=tollgate": settings.mlflow, "/v1/model": settings.http,
    }  # fmt: skip
    for path, url in asked.items():
        # the address carries a password, its text does not
        if (status := httpx.get(f"{url!s}{path}", timeout=STALL_S).status_code) != 401:
            yield f"{url}{path} answers {status}"
    for how in ({}, {"security.protocol": "ssl", "ssl.ca.location": str(settings.secure_files.ca)}):
        client = AdminClient({"bootstrap.servers": str(settings.kafka), "log_level": 0, **how})
        with suppress(KafkaException):
            client.list_topics(timeout=REFUSED_WITHIN_S)
            yield f"Kafka answers by {how or 'plain text'}"


def _open_folders(settings: Settings) -> Iterator[Path]:
    """Of the folders that everything of a stack lies in."""
    for folder in (settings.root, settings.temp_dir):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            yield folder


@contextmanager
def _many_files() -> Iterator[int]:
    """Inside the block this process may open as many files as the system lets it, at most 65,536; yields how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _slow(settings: Settings, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have sent part of a request, the last one part of a body."""
    slow: list[socket.socket] = []
    try:
        for number in range(count):
            slow.append(socket.create_connection(("127.0.0.1", port_of(settings.http)), timeout=STALL_S))
            slow[-1].sendall(BODY if number == count - 1 else HEAD)
        yield slow
    finally:
        for connection in slow:
            connection.close()


def _all_of(connection: socket.socket) -> bytes:
    """What the edge still sends before it closes a connection."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received
