"""A full disk: processes wait, a message names the disk, and all continue without loss once there is free space."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from infra import stack
from infra.stack.supervisor import Supervisor, marked
from streams.log.topics import DECISIONS
from streams.runtime.settings import Settings
from tests.support.running import CLI, ends_of, run_cli, run_json, start_cli
from tests.support.waiting import until

RATE, SECONDS = 300, 25


@contextmanager
def small_disk(size_mb: int) -> Iterator[Path]:
    """A separate file system; the test is skipped if mounting is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="tg-disk-"))
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        why = mounted.stderr.strip() if mounted.returncode else ""
    except FileNotFoundError as error:
        why = str(error)
    if why:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {why}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=30, check=True)
        folder.rmdir()


def fill(folder: Path) -> None:
    """Fill the disk to the last byte, repeatedly, as other processes free space."""
    with (folder / "ballast").open("ab", buffering=0) as file:
        for block in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                continue


def test_up_on_a_disk_without_room_is_refused_before_anything_is_made(
    free_port_base: Callable[[], int],
) -> None:
    with small_disk(20) as folder:
        home, base = folder / "home", free_port_base()
        for command in (
            ["up", "--home", str(home), "--port-base", str(base)],
            ["up", "--home", str(home), "--port-base", str(base), "--no-model", "--embedded"],
        ):
            done = subprocess.run([*CLI, *command], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 3, done.stderr
            assert f"the disk of {home} has" in done.stderr
            assert "MB free, but 200 MB are needed" in done.stderr
            assert "Traceback" not in done.stderr
            assert not home.exists()
        doctor = subprocess.run(
            [*CLI, "doctor", "--home", str(home), "--port-base", str(base)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert doctor.returncode == 1
        (line,) = [line for line in doctor.stdout.splitlines() if line.startswith("WRONG   disk")]
        assert f"MB free at {folder}" in line


@pytest.fixture
def stack_on_a_small_disk(free_port_base: Callable[[], int]) -> Iterator[tuple[Settings, Path]]:
    """The stream path, archive included, without a model: everything is decided, as not_scored."""
    with small_disk(450) as folder:
        settings = stack.settings_for(folder / "s", free_port_base())
        try:
            settings = stack.start(
                settings,
                only=("kafka", "redis", "processor-0", "scoring", "rollout-0", "labels-0", "archive-0"),
                wait_s=200,
            )
            if settings.embedded:
                pytest.skip(
                    "the mock cluster writes to no disk: needs Java 17 and Kafka's jars (`make setup` brings them)"
                )
            yield settings, folder
        finally:
            # no purge: the folder disappears with the disk
            stack.stop(settings)
            assert not marked(settings)


@pytest.mark.stack
@pytest.mark.timeout(500)
def test_a_full_disk_under_load(stack_on_a_small_disk: tuple[Settings, Path]) -> None:
    settings, folder = stack_on_a_small_disk
    until(
        lambda: {"scoring-stream-0"} <= {row["name"] for row in stack.processes(settings)}, 120, "the replica"
    )
    supervisor = Supervisor(settings).pid()
    traffic = start_cli(
        settings, "simulate", "--rate", str(RATE), "--seconds", str(SECONDS), "--seed", "31", "--wait", "200", "--json",
    )  # fmt: skip
    until(
        lambda: sum(ends_of(settings, DECISIONS.name, settings.partitions).values()) > RATE,
        120,
        "decisions to come",
    )
    client = redis.Redis.from_url(settings.redis_address)

    def broker_has_ended() -> bool:
        fill(folder)
        return any(row["name"] == "kafka" and row["restarts"] for row in stack.processes(settings))

    def store_takes_nothing() -> bool:
        fill(folder)
        try:
            client.set("tollgate-test:filler", bytes(20_000))
        except redis.exceptions.ResponseError as error:
            return "MISCONF" in str(error)
        return False

    until(broker_has_ended, 90, "the broker to end on a full disk")
    until(store_takes_nothing, 60, "Redis to refuse writes")
    # a broker that has just been restarted needs some time first
    silent = f"problem: Kafka at {settings.kafka} does not answer"
    until(lambda: silent in run_cli(settings, "status").stdout, 60, "the status to name Kafka")
    status = run_cli(settings, "status")
    doctor = run_cli(settings, "doctor")
    assert traffic.poll() is None
    (folder / "ballast").unlink()

    assert f"problem: the disk of {settings.home} has 0 MB free" in status.stdout, (
        status.stdout + status.stderr
    )
    assert silent in status.stdout
    assert "problem: Redis cannot write its file" in status.stdout
    assert status.returncode == 1
    assert f"0 MB free at {settings.home}" in doctor.stdout
    assert doctor.returncode == 1

    out, err = traffic.communicate(timeout=300)
    assert traffic.returncode == 0, err[-2000:] + out[-2000:]
    summary = json.loads(out)
    assert (summary["produced"], summary["missing"], summary["duplicated"]) == (RATE * SECONDS, 0, 0)
    books = run_json(settings, "reconcile", "--wait", "90")
    assert books["balanced"]
    assert (books["ingested"], books["in_flight"]) == (RATE * SECONDS, 0)
    assert Supervisor(settings).pid() == supervisor
    said = (settings.log_dir / "kafka.log").read_text()
    assert f"the disk of {settings.home} is full" in said
    assert f"the disk of {settings.home} has enough free space again" in said
    until(lambda: stack.report(settings)["problems"] == [], 60, "no problem to be left")
