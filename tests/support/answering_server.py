"""A server on a free port that says the same bytes whatever it is asked, for clients of Redis."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.waiting import STALL_S


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server of one connection, which answers each write with ``answer``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(STALL_S)
        thread = threading.Thread(target=_serve, args=(listening, answer), daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        # whose client has gone, or has never come
        with socket.create_connection(listening.getsockname()):
            pass
        thread.join(STALL_S)
        assert not thread.is_alive()


def _serve(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        while connection.recv(1 << 16):
            connection.sendall(answer)
