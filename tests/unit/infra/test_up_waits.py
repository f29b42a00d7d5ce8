"""`tollgate up` takes a program for begun when it runs, and a processor when it has its kernels: it listens from then on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from infra.stack import settings_for
from infra.stack.lifecycle import has_begun


def test_a_processor_has_begun_once_it_listens(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    settings = settings_for(tmp_path, free_port_base())
    assert has_begun("rollout-0", "RUNNING", settings)
    assert not has_begun("rollout-0", "STARTING", settings)
    assert not has_begun("processor-0", "RUNNING", settings)
    with socket.create_server(("127.0.0.1", settings.metrics_port("processor-0"))):
        assert has_begun("processor-0", "RUNNING", settings)
        assert not has_begun("processor-0", "BACKOFF", settings)
