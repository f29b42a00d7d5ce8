"""Requests as bytes, made before the measurement: simulated current payments, each with a unique id."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from loadtest.traffic.simulator import create_world, history_table
from loadtest.traffic.simulator.world import letters
from streams.mapping.encoding import encode_transactions

CARDS = 10_000


def payments(count: int, seed: int = 7) -> list[bytes]:
    """JSON of ``count`` transactions of the last minute."""
    end = datetime.now(UTC)
    table = history_table(
        create_world(seed, CARDS), end - timedelta(minutes=1), end, count=count, stream=9_000,
        id_prefix=letters(secrets.randbelow(19**8), 8),
    )  # fmt: skip
    return encode_transactions(table)


def requests(host: str, count: int, batch: int, deadline_ms: int, seed: int = 7) -> Iterator[bytes]:
    """``count`` requests of ``batch`` transactions each (1: `/v1/score`, else `/v1/score/batch`)."""
    items = payments(count * batch, seed)
    path = "/v1/score" if batch == 1 else "/v1/score/batch"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"X-Deadline-Ms: {deadline_ms}\r\nContent-Length: "
    ).encode()
    for i in range(count):
        part = items[i * batch : (i + 1) * batch]
        body = part[0] if batch == 1 else b'{"transactions":[' + b",".join(part) + b"]}"
        yield head + str(len(body)).encode() + b"\r\n\r\n" + body
