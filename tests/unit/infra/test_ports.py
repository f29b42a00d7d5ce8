"""Which ports are taken: those that somebody keeps, not those that somebody tries."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from infra.stack import ports


def bound(port: int) -> socket.socket:
    held = socket.socket()
    held.bind(("127.0.0.1", port))
    return held


def test_a_port_that_is_kept_is_named_with_its_purpose(free_port_base: Callable[[], int]) -> None:
    base = free_port_base()
    with bound(base) as held:
        held.listen()
        (text,) = ports.busy(base)
    assert text.startswith(f"port {base} (") and "pid " in text
    assert ports.busy(base) == []


def test_a_port_that_is_only_tried_is_not_taken(free_port_base: Callable[[], int]) -> None:
    """Two `up` that look for a free block at once bind the same ports for a moment."""
    base = free_port_base()
    held = bound(base)
    let_go = threading.Timer(ports._PROBE_S / 4, held.close)
    let_go.start()
    assert ports.busy(base) == []
    let_go.join()


@pytest.mark.parametrize(("offset", "says"), [(ports.REPLICAS.start + 1, None), (ports.KAFKA, "is closing")])
def test_a_stack_that_was_just_stopped_can_be_started_again(
    free_port_base: Callable[[], int], offset: int, says: str | None
) -> None:
    """Its replicas' ports hold closed connections for a minute; Ray takes the next port of its range."""
    base = free_port_base()
    with socket.socket() as server, socket.socket() as client:
        # as uvicorn in a replica of Ray: without SO_REUSEADDR
        server.bind(("127.0.0.1", base + offset))
        server.listen()
        client.connect(("127.0.0.1", base + offset))
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert not ports.is_free(base + offset)
    found = ports.busy(base)
    assert found == [] if says is None else says in found[0]
