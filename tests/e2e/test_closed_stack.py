"""A running stack as another user of the machine sees it: what listens, what he may read, and that stacks do not meet (decision 27)."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra import stack
from infra.stack.ports import EPHEMERAL
from infra.stack.supervisor import Supervisor, marked
from infra.stack.tools import CHECKOUT
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PAGE = CHECKOUT / "infra" / "decisions" / "0027-a-closed-local-stack.md"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def documented() -> dict[str, set[int | None]]:
    """Offsets by process from the page's table; None stands for any port."""
    found: dict[str, set[int | None]] = {}
    for first, last, process in re.findall(
        r"^\| (\d+|any)(?:-(\d+))? \| ([a-z ]+) \|", PAGE.read_text(), re.MULTILINE
    ):
        offsets = {None} if first == "any" else set(range(int(first), int(last or first) + 1))
        found.setdefault(process, set()).update(offsets)
    return found


def listening(settings: Settings) -> list[tuple[str, str, int]]:
    """(supervised process, address, port) of every socket on which a process of the stack listens."""
    supervised = {info["pid"]: name for name, info in Supervisor(settings).states().items() if info["pid"]}

    def name_of(process: psutil.Process) -> str:
        chain = [process, *process.parents()]
        return next((supervised[p.pid] for p in chain if p.pid in supervised), process.name())

    return [
        (name_of(process), connection.laddr.ip, connection.laddr.port)
        for process in marked(settings)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_each_listening_socket_is_on_loopback_and_in_the_table(running_stack: Settings) -> None:
    table, found = documented(), listening(running_stack)
    assert {"kafka", "redis", "scoring", "processor-0"} <= {name for name, _, _ in found}
    assert [entry for entry in found if entry[1] not in LOOPBACK] == []
    for name, address, port in found:
        offset = port - running_stack.port_base
        allowed = table.get(name, set()) | table["all of ours"]
        assert offset in allowed or (port >= EPHEMERAL and None in allowed), (name, address, port, offset)


def test_nobody_else_may_enter_read_or_steer(running_stack: Settings) -> None:
    assert running_stack.redis.startswith("redis://:")
    opened = []
    for folder in (running_stack.root, running_stack.temp_dir):
        # os.walk passes over what goes meanwhile
        for path in (
            Path(at, name) for at, folders, files in os.walk(folder) for name in (".", *folders, *files)
        ):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISLNK(found.st_mode) and (found.st_mode & 0o077 or found.st_uid != os.getuid()):
                opened.append((oct(found.st_mode), str(path)))
    assert opened == []


def test_every_socket_file_lies_in_the_stacks_own_folders(running_stack: Settings) -> None:
    pids = {process.pid for process in marked(running_stack)}
    own = (f"{running_stack.root}/", f"{running_stack.temp_dir}/")
    paths = {
        connection.laddr
        for connection in psutil.net_connections("unix")
        if connection.pid in pids and connection.laddr and connection.laddr[0] == "/"
    }
    # supervisord binds its socket under another name first
    assert any(path.startswith(str(running_stack.socket_dir / "supervisor.sock")) for path in paths)
    assert [path for path in paths if not path.startswith(own)] == []


@pytest.fixture
def neighbour(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A second stack, without a model: Kafka, Redis and scoring run."""
    home = Path(tempfile.mkdtemp(prefix="tg-"))
    settings = stack.settings_for(home, free_port_base(), embedded=True)
    try:
        yield stack.start(settings, only=("kafka", "redis", "scoring"), wait_s=180)
    finally:
        stack.stop(settings, purge=True)
        assert not settings.temp_dir.exists()


def test_a_stack_never_answers_for_another(running_stack: Settings, neighbour: Settings) -> None:
    def version(settings: Settings) -> object:
        try:
            answer = httpx.get(f"{settings.http}/v1/model", timeout=STALL_S, headers={"Connection": "close"})
        except httpx.HTTPError:
            return "unreachable"
        return answer.json()["version"] if answer.status_code == 200 else answer.status_code

    until(lambda: version(neighbour) is None, 120, "the second stack's edge")
    served = version(running_stack)
    assert isinstance(served, str)
    replica = (neighbour.run_dir / "scoring-http-0.pid").read_text().split()[-1]
    psutil.Process(int(replica)).kill()
    # while its replica is away, its HAProxy falls back to its own proxy
    assert served not in {version(neighbour) for _ in range(24)}
    assert {version(running_stack) for _ in range(24)} == {served}
    until(lambda: version(neighbour) is None, 120, "the second stack's edge again")
