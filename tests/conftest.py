"""What tests share: a real Kafka with a real Redis, started once a session on free ports, and free blocks of ports."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import stack
from streams.settings import Settings
from tests.running import start_whole_stack


@pytest.fixture(scope="session")
def free_port_base() -> Callable[[], int]:
    """A function that gives the base of a block of free ports below the ephemeral ones."""
    return stack.free_port_base


@pytest.fixture(scope="session")
def kafka_redis(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """Settings of a stack of which Kafka and Redis run, with every topic. Shared: use ids and groups of your own.

    Kafka is real where Java and its jars are there, else librdkafka's mock cluster (``settings.embedded`` says which).
    """
    home = tmp_path_factory.mktemp("stack")
    settings = stack.settings_for(home, free_port_base())
    settings = stack.start(settings, only=("kafka", "redis"), wait_s=90)
    try:
        yield settings
    finally:
        stack.stop(settings, purge=True)


@pytest.fixture(scope="session")
def running_stack(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A whole stack with a served model: real Kafka, Redis, Ray and all processes. Shared: use ids of your own."""
    home = Path(tempfile.mkdtemp(prefix="tg-"))
    settings = stack.settings_for(home, free_port_base())
    try:
        yield start_whole_stack(settings)
    finally:
        stack.stop(settings, purge=not os.environ.get("KEEP_TEST_STACK"))
