"""What tests share: a real Kafka with a real Redis, started once a session on free ports, and free blocks of ports."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from infra import stack
from infra.stack.ports import BLOCK, EPHEMERAL
from streams.runtime.settings import Settings
from tests.support.running import (
    settings_with_attributes,
    start_whole_stack,
    stop_and_see_who_was_killed,
)

FIRST_PORT = 20_000
# beside other tests on a shared machine an example may take any time. The same examples each time, so that a change is judged
# by what it changes; `--hypothesis-profile=search` looks for others
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.load_profile("same")


#: files whose tests share the session's whole stack
ON_THE_STACK = ("tests/e2e/", "tests/faults/test_attacks.py", "tests/faults/test_kill.py", "tests/faults/test_kafka_away.py", "tests/faults/test_drill.py", "tests/faults/test_rebuild.py", "tests/integration/test_stack_command.py")  # fmt: skip


class OneStack(LoadScopeScheduling):
    """Two processes share the tests (``make test``): one of them has the stack and all who need it, else whole files.

    Many tests wait for something that takes its time (sessions that expire, a broker that is away); the other's work
    fills that time.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "stack" if file.startswith(ON_THE_STACK) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStack:
    return OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, and in its folder what is marked ``comes_late`` after the others.

    Raises:
        pytest.UsageError: a test needs the stack, and its file is not among those that have it.
    """
    for item in items:
        if "running_stack" in getattr(item, "fixturenames", ()) and not item.nodeid.startswith(ON_THE_STACK):
            raise pytest.UsageError(f"{item.nodeid} needs the whole stack: add its file to ON_THE_STACK")
    longest = ("running_stack", "bench", "stack_on_a_small_disk")

    def order(item: pytest.Item) -> tuple[bool, str, int]:
        if not any(name in getattr(item, "fixturenames", ()) for name in longest):
            return True, "", 0
        late = item.get_closest_marker("comes_late")
        return False, str(item.path.parent), late.kwargs["place"] if late else 0

    # stable: what is equal stays as it was collected
    items.sort(key=order)


@pytest.fixture(scope="session")
def free_port_base(worker_id: str) -> Callable[[], int]:
    """A function that gives the base of a block of free ports below the ephemeral ones, for this process alone."""
    whole = EPHEMERAL - BLOCK - FIRST_PORT
    if worker_id == "master":
        return stack.free_port_base
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    first = FIRST_PORT + int(worker_id.removeprefix("gw")) * whole // workers
    return partial(stack.free_port_base, first // 10 * 10, first // 10 * 10 + whole // workers - BLOCK)


@pytest.fixture(scope="session")
def kafka_redis(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """Settings of a stack of which Kafka and Redis run, with every topic. Shared: use ids and groups of your own.

    Kafka is real where Java and its jars are there, else librdkafka's mock cluster (``settings.embedded`` says which).
    """
    yield from _kafka_and_redis(tmp_path_factory.mktemp("stack"), free_port_base())


@pytest.fixture(scope="module")
def own_kafka_redis(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """The same for one module, which writes what would mislead others, such as features that nobody computed."""
    yield from _kafka_and_redis(tmp_path_factory.mktemp("own"), free_port_base())


def _kafka_and_redis(home: Path, port_base: int) -> Iterator[Settings]:
    settings = stack.start(stack.settings_for(home, port_base), only=("kafka", "redis"), wait_s=90)
    try:
        yield settings
    finally:
        stack.stop(settings, purge=True)


@pytest.fixture(scope="session")
def running_stack(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A whole stack with a served model: real Kafka, Redis, Ray and all processes. Shared: use ids of your own.

    It declares two attributes: ``loyalty_tier`` (text) and ``basket_items`` (number). With SECURE=1 it is a secured one.
    """
    home = Path(tempfile.mkdtemp(prefix="tg-"))
    settings = settings_with_attributes(home, free_port_base(), secure="SECURE" in os.environ)
    try:
        yield start_whole_stack(settings)
    finally:
        overdue = stop_and_see_who_was_killed(settings, purge=not os.environ.get("KEEP_TEST_STACK"))
    assert overdue == [], "every process drains, commits and ends by itself within its time"
