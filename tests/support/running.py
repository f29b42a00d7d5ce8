"""A whole stack for the tests that need one: started once a session, with a first model trained on simulated history."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import TopicPartition

from infra import stack
from infra.stack.private import private_files
from infra.stack.supervisor import log_file
from loadtest.traffic.simulator import create_world, history_table
from services.rollout.confirmation import serving
from services.trainer.bootstrap import train_first_model
from streams.runtime.kafka.clients import new_consumer
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S, until

OWN_ATTRIBUTES = """
[attributes.loyalty_tier]
type = "text"
[attributes.basket_items]
type = "number"
unit = "articles"
"""
CLI = [str(Path(sys.executable).parent / "tollgate")]


def settings_with_attributes(home: Path, port_base: int, *, secure: bool = False) -> Settings:
    """Settings of a stack that declares two attributes of its own."""
    own = home / "settings.toml"
    own.touch(0o600)
    own.write_text(OWN_ATTRIBUTES)
    return stack.with_parts(stack.settings_for(home, port_base, secure=secure))


def start_whole_stack(settings: Settings) -> Settings:
    """Every process of the stack, and a model that is served."""
    settings = stack.start(settings, wait_s=240, progress=lambda text: print(text, file=sys.stderr))
    now = datetime.now(UTC)
    history = history_table(create_world(3, cards=600), now - timedelta(days=40), now, id_prefix="history")
    # as a command does it
    with private_files():
        train_first_model(settings, history, lambda text: print(text, file=sys.stderr), silence="honest")
    until(lambda: served_version(settings) != "none", 90, "the first model to be served")
    return settings


def stop_and_see_who_was_killed(settings: Settings, *, purge: bool) -> list[str]:
    """Stop a stack; returns the processes that did not end within their time, so that supervisord killed them."""
    log = log_file(settings)
    before = log.stat().st_size if log.exists() else 0
    stack.stop(settings)
    said = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
    if purge:
        stack.stop(settings, purge=True)
    return re.findall(r"killing '([^']+)' \(\d+\) with SIGKILL", said)


def served_version(settings: Settings) -> str:
    """The version that the HTTP edge serves, by its metrics; "none" before the first."""
    told = serving(settings, "scoring-http-0")
    return told.version if told is not None else "none"


def run_cli(settings: Settings, *args: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a `tollgate` command against the stack."""
    command = [*CLI, args[0], *args[1:], "--home", settings.home]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def run_json(settings: Settings, *args: str, timeout_s: float = 240) -> Any:
    """The same with ``--json``, parsed; the exit code must be 0."""
    done = run_cli(settings, *args, "--json", timeout_s=timeout_s)
    assert done.returncode == 0, (
        f"{args}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return json.loads(done.stdout)


def start_cli(settings: Settings, *args: str) -> subprocess.Popen[str]:
    """Start a command beside the test; the caller waits for it."""
    command = [*CLI, args[0], *args[1:], "--home", settings.home]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def traffic(settings: Settings, *options: str) -> Iterator[list[dict[str, Any]]]:
    """Simulated payments beside the block, as long as it takes; yields their summaries, whole once the block has ended."""
    stop, summaries, failed = threading.Event(), [], []

    def keep_sending() -> None:
        try:
            for seed in itertools.count(77):
                if stop.is_set():
                    return
                summaries.append(
                    run_json(
                        settings,
                        "simulate",
                        *options,
                        "--seconds",
                        "60",
                        "--seed",
                        str(seed),
                        "--wait",
                        "120",
                    )
                )
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        yield summaries
    finally:
        stop.set()
        thread.join(300)
    assert not failed and not thread.is_alive(), failed


def pid_of(settings: Settings, process: str) -> int | None:
    """The pid of a process by its name in ``tollgate status``; None while it has none."""
    for row in stack.processes(settings):
        if row["name"] == process and row["pid"]:
            return int(row["pid"])
    return None


def stand_still(pid: int) -> None:
    """SIGSTOP, and wait until every thread of the process has stopped.

    It stops once the thread that got the signal has run, which on a busy machine took up to 42 ms: long enough for
    another of its threads to answer what was sent after the signal.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: _stopped(pid), STALL_S, f"process {pid} to stand still")
    except BaseException:
        os.kill(pid, signal.SIGCONT)
        raise


def _stopped(pid: int) -> bool:
    try:
        # on Linux a thread's id does for a process' id
        states = {psutil.Process(thread.id).status() for thread in psutil.Process(pid).threads()}
    except psutil.NoSuchProcess:
        # a thread that ended meanwhile
        return False
    return states == {psutil.STATUS_STOPPED}


def read_topic(settings: Settings, topic: str, start: dict[int, int], timeout_s: float = 20) -> list[Any]:
    """Records of a topic from given offsets to its end as of now, committed ones only."""
    consumer = new_consumer(settings.kafka, f"tollgate-test-{time.monotonic_ns()}")
    records: list[Any] = []
    try:
        ends = {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=STALL_S)[1] for p in start
        }
        left = {p for p in start if ends[p] > start[p]}
        consumer.assign([TopicPartition(topic, p, start[p]) for p in left])
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            for message in consumer.consume(1000, timeout=0.2):
                assert message.error() is None, message.error()
                records.append(message)
                if message.offset() >= ends[message.partition()] - 1:
                    left.discard(message.partition())
        assert not left, f"{topic} was not read to its end"
    finally:
        consumer.close()
    return records


def ends_of(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """The end of each partition as of now."""
    consumer = new_consumer(settings.kafka, f"tollgate-test-{time.monotonic_ns()}")
    try:
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=STALL_S)[1]
            for p in range(partitions)
        }
    finally:
        consumer.close()
