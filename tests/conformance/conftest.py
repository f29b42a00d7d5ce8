"""A Redis of the stack's own kind, without the rest of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from infra import stack
from streams.runtime.settings import Settings


@pytest.fixture(scope="module")
def redis_alone(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """Settings of a stack of which only Redis runs."""
    settings = stack.settings_for(tmp_path_factory.mktemp("redis"), free_port_base())
    try:
        yield stack.start(settings, only=("redis",), wait_s=60)
    finally:
        stack.stop(settings, purge=True)
