"""``tollgate up`` and ``down`` as a person uses them: in one's own folder, interrupted, embedded, twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import stack
from infra.stack.ports import HTTP, answers, port_of
from infra.stack.supervisor import marked
from streams.log.topics import TopicError, ensure_topics
from streams.runtime.kafka.clients import flush, new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.waiting import until


def tollgate(*args: str) -> list[str]:
    return [sys.executable, "-m", "services.cli.main", *args]


def test_an_interrupted_up_leaves_nothing(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    home, base = tmp_path / "home", free_port_base()
    with subprocess.Popen(
        tollgate("up", "--home", str(home), "--port-base", str(base), "--embedded", "--no-model"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as up:
        deadline = time.monotonic() + 60
        assert up.stderr is not None
        for line in up.stderr:
            assert time.monotonic() < deadline
            if "starting processor-0" in line:
                break
        up.send_signal(signal.SIGINT)
        _, rest = up.communicate(timeout=60)
    assert up.returncode == 130
    assert "Traceback" not in rest
    settings = stack.existing(home)
    assert settings is not None
    assert not marked(settings)
    assert not answers(port_of(settings.redis))


def test_the_embedded_form_starts_anew_each_time(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    settings = stack.settings_for(tmp_path / "home", free_port_base(), embedded=True)
    bundle = settings.bundles_dir / "fraud" / "1" / "model.ubj"
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(b"kept")
    settings = stack.start(settings, only=("kafka",), wait_s=60)
    try:
        ensure_topics(settings.kafka, settings.partitions)
        producer = new_producer(settings.kafka, "test", log_level=0)
        producer.produce("labels", key=b"card-1", value=b"{}")
        flush(producer, 20)
        consumer = new_consumer(settings.kafka, "test", log_level=0)
        consumer.subscribe(["labels"])
        deadline = time.monotonic() + 30
        message = None
        while message is None and time.monotonic() < deadline:
            message = consumer.poll(0.5)
        consumer.close()
        assert message is not None and message.value() == b"{}"
    finally:
        stack.stop(settings)
    (settings.archive_dir / "rows.parquet").write_bytes(b"from a log that is gone")
    settings = stack.start(settings, only=("kafka",), wait_s=60)
    try:
        assert not (settings.archive_dir / "rows.parquet").exists()
        assert bundle.read_bytes() == b"kept"
        assert stack.report(settings)["embedded"] is True
    finally:
        stack.stop(settings, purge=True)


def test_the_embedded_form_refuses_a_real_log(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    settings = stack.settings_for(tmp_path, free_port_base(), embedded=True)
    with pytest.raises(stack.StackUsageError, match="the log of a real Kafka"):
        stack.start(settings, only=("kafka",))
    assert not marked(settings)


def test_up_on_a_running_stack_with_other_ports_is_refused(
    tmp_path: Path, free_port_base: Callable[[], int]
) -> None:
    home, base = tmp_path / "home", free_port_base()
    settings = stack.start(stack.settings_for(home, base), only=("redis",), wait_s=60)
    try:
        other = subprocess.run(
            tollgate("up", "--home", str(home), "--port-base", str(base + 100)),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert other.returncode == 2
        assert "tollgate down" in other.stderr

        def redis_running() -> tuple[dict[str, Any], dict[str, Any]] | None:
            status = subprocess.run(
                tollgate("status", "--home", str(home), "--json"),
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            report = json.loads(status.stdout)
            entry = next(process for process in report["processes"] if process["name"] == "redis")
            return (report, entry) if entry["state"] == "running" else None

        # supervisord calls a program running once it has lived for a second
        report, redis = until(redis_running, 20, "redis to count as running")
        assert report["state"] == "starting"
        assert set(redis) == {"name", "pid", "state", "restarts", "rss_mb", "cpu_s"}
        assert redis["state"] == "running"
        os.kill(redis["pid"], 0)
    finally:
        stack.stop(settings)
    done = subprocess.run(
        tollgate("down", "--home", str(home), "--purge"), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert not home.exists()


def test_up_and_doctor_name_who_sits_on_a_port(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    home, base = tmp_path / "home", free_port_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + HTTP))
        taken.listen()
        up = subprocess.run(
            tollgate("up", "--home", str(home), "--port-base", str(base)),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        doctor = subprocess.run(
            tollgate("doctor", "--home", str(home), "--port-base", str(base)),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert up.returncode == 3
    whose = f"port {base + HTTP} (http) is taken by pid {os.getpid()}"
    assert whose in up.stderr
    assert "--port-base" in up.stderr
    assert "Traceback" not in up.stderr
    assert not home.exists()
    assert doctor.returncode == 1
    assert whose in doctor.stdout


def test_topics_of_another_partition_count_are_refused(kafka_redis: Settings) -> None:
    with pytest.raises(TopicError, match="partitions"):
        ensure_topics(kafka_redis.kafka, kafka_redis.partitions + 1)
