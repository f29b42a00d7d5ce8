"""``kill -9`` during traffic: nothing lost, nothing decided twice, the accounts balance."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

from streams.runtime.settings import Settings
from tests.faults.faults import FAULTS
from tests.faults.rounds import Bench
from tests.support.running import pid_of, run_json, start_cli
from tests.support.waiting import until

pytestmark = pytest.mark.stack
RATE, SECONDS = 500, 25
VICTIMS = ("processor-0", "scoring-stream-0", "labels-0")


@pytest.mark.timeout(400)
def test_kill_9_of_processor_replica_and_labels_worker(running_stack: Settings) -> None:
    traffic = start_cli(
        running_stack, "simulate", "--rate", str(RATE), "--seconds", str(SECONDS), "--seed", "11",
        "--scale", "20000", "--wait", "90", "--json",
    )  # fmt: skip
    rng = random.Random(5)
    killed = {}
    for victim in VICTIMS:
        pid = until(lambda name=victim: pid_of(running_stack, name), 60, f"{victim} to have a pid")
        time.sleep(rng.uniform(2.0, 4.0))
        os.kill(pid, signal.SIGKILL)
        killed[victim] = pid
    out, err = traffic.communicate(timeout=240)
    assert traffic.returncode == 0, err[-2000:] + out[-2000:]
    summary = json.loads(out)
    assert summary["produced"] == RATE * SECONDS
    assert summary["missing"] == 0
    assert summary["duplicated"] == 0
    for victim, pid in killed.items():
        now = until(lambda name=victim: pid_of(running_stack, name), 60, f"{victim} to be back")
        assert now != pid, f"{victim} was never restarted"
    books = run_json(running_stack, "reconcile", "--wait", "30")
    assert books["balanced"]
    assert books["in_flight"] == 0


@pytest.mark.timeout(300)
def test_redis_and_kafka_restart_under_load(running_stack: Settings) -> None:
    """Redis killed, then the broker: processes wait with back-off, then continue without loss."""
    traffic = start_cli(
        running_stack,
        "simulate",
        "--rate",
        "300",
        "--seconds",
        "20",
        "--seed",
        "12",
        "--wait",
        "100",
        "--json",
    )
    for victim in ("redis", "kafka"):
        pid = until(lambda name=victim: pid_of(running_stack, name), 60, f"{victim} to have a pid")
        time.sleep(4)
        os.kill(pid, signal.SIGKILL)
    out, err = traffic.communicate(timeout=240)
    assert traffic.returncode == 0, err[-2000:] + out[-2000:]
    summary = json.loads(out)
    assert summary["missing"] == 0
    assert summary["duplicated"] == 0
    assert run_json(running_stack, "reconcile", "--wait", "60")["balanced"]


@pytest.mark.timeout(900)
def test_labels_worker_killed_and_frozen(running_stack: Settings) -> None:
    """Labels before and after their decisions: each fraud counts once for every entity, with one outcome per label."""
    if running_stack.embedded:
        pytest.skip(
            "the mock cluster keeps nothing: needs Java 17 and Kafka's jars (`make setup` brings them)"
        )
    bench = Bench(running_stack, scoring=True, freeze_s=7.0)
    # profiles of earlier tests are not compared
    result = bench.run(FAULTS["labels worker"], 2, seed=102, everything=False)
    bench.close()
    assert result.clean, result
    assert run_json(running_stack, "reconcile", "--wait", "60")["balanced"]
