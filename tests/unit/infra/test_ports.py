"""Which ports are taken: those that somebody keeps, not those that somebody tries."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

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
