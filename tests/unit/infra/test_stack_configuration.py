"""What a stack is made from: ports, paths, configuration files, the table of processes, reading pids and logs."""

from __future__ import annotations

import configparser
import shlex
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from infra.stack import StackError, StackUsageError, settings_for
from infra.stack.health import status as stack_status
from infra.stack.ports import BLOCK, busy, free_port_base
from infra.stack.programs import BESIDE, FOUNDATION, HOT_PATH, programs
from infra.stack.servers import kafka, monitoring, redis
from infra.stack.supervisor import configuration, restarts
from infra.stack.tools import Tools, java_version
from streams.runtime.settings import METRICS_PORTS

TOOLS = Tools(
    python=Path("/v/bin/python"),
    drift_python=Path("/d/bin/python"),
    java=Path("/usr/bin/java"),
    kafka_jars=Path("/jars"),
    redis_server=Path("/usr/bin/redis-server"),
    prometheus=Path("/usr/bin/prometheus"),
    alertmanager=Path("/usr/bin/alertmanager"),
)
HOME = Path("/data/50% off")


def test_every_port_of_a_block_is_its_own_and_below_the_ephemeral_ones() -> None:
    settings = settings_for(HOME, 21000)
    addresses = (
        settings.kafka, settings.redis, settings.http, settings.prometheus,
        settings.alertmanager, settings.mlflow, settings.oncall, settings.console,
    )  # fmt: skip
    served = [int(address.rsplit(":", 1)[1]) for address in addresses]
    metrics = [settings.metrics_port(name) for name in METRICS_PORTS]
    assert served == [21000, 21002, 21003, 21004, 21005, 21006, 21007, 21008]
    assert len({*served, *metrics}) == len(served) + len(metrics)
    assert max(metrics) < 21000 + BLOCK


@pytest.mark.parametrize("base", [0, 1023, 32768 - BLOCK + 1, 60000])
def test_a_block_of_ports_that_cannot_be_is_refused(base: int) -> None:
    with pytest.raises(StackUsageError, match="--port-base"):
        settings_for(HOME, base)


@pytest.mark.parametrize("name", ["a,b", "a;b", "a #1", "a?b", 'a"b', "a\\b", "a\nb"])
def test_a_folder_that_a_part_would_take_for_another_is_refused(name: str) -> None:
    with pytest.raises(StackUsageError, match="--home"):
        settings_for(Path("/data") / name, 21000)


def test_a_folder_with_a_blank_or_an_accent_is_one_folder_for_every_part() -> None:
    home = Path("/data/m\u00fcller's stack")
    settings = settings_for(home, 21000, redis_socket=str(home / "run" / "redis.sock"))
    lines = dict(line.split(" ", 1) for line in redis.config(settings).splitlines())
    assert lines["unixsocket"] == f'"{home}/run/redis.sock"'
    assert lines["dir"] == f'"{home}/redis"'
    (folders,) = [line for line in kafka.properties(settings).splitlines() if line.startswith("log.dirs=")]
    assert folders.isascii()
    assert folders.encode().decode("unicode_escape") == f"log.dirs={home}/kafka/data"


def test_a_free_block_is_free() -> None:
    assert busy(free_port_base()) == []


def test_supervisor_reads_back_what_was_meant() -> None:
    settings = settings_for(HOME, 21000)
    table = programs(settings, TOOLS)
    parser = configparser.RawConfigParser()
    parser.read_string(configuration(settings, table))
    for program in table:
        section = parser[f"program:{program.name}"]
        command = shlex.split(section["command"].replace("%%", "%"))
        assert tuple(command) == program.command
        assert section["autostart"] == "false"
        assert section["killasgroup"] == "true"
        assert section["autorestart"] == ("false" if program.once else "true")


def test_the_table_holds_every_process_in_order() -> None:
    table = {program.name: program for program in programs(settings_for(HOME, 21000), TOOLS)}
    assert {n for n, p in table.items() if p.stage == FOUNDATION} == {
        "kafka", "redis", "oncall", "alertmanager", "prometheus",
    }  # fmt: skip
    assert {n for n, p in table.items() if p.stage == HOT_PATH} == {
        "processor-0", "labels-0", "scoring", "rollout-0", "archive-0", "broker-warm-up", "feast-apply",
    }  # fmt: skip
    assert {n for n, p in table.items() if p.stage == BESIDE} == {"console", "trainer-0", "mlflow", "drift-0"}
    assert {n for n, p in table.items() if p.needed} == set(stack_status.NEEDED)
    assert "/d/bin/python" in table["drift-0"].command
    # what nobody waits for runs behind the hot path
    assert {n for n, p in table.items() if p.command[0] == "nice"} == {
        "labels-0", "archive-0", "console", "trainer-0", "mlflow", "drift-0",
    }  # fmt: skip
    for program in table.values():
        # Kafka's is a wait for room, which becomes the broker
        if "-m" in program.command and program.name not in ("mlflow", "kafka"):
            assert ("OMP_NUM_THREADS", "1") in program.environment


def test_a_second_processor_is_a_process_like_the_first_and_not_needed() -> None:
    settings = msgspec.structs.replace(settings_for(HOME, 21000), processors=2)
    table = {program.name: program for program in programs(settings, TOOLS)}
    assert "--name processor-1" in shlex.join(table["processor-1"].command)
    assert table["processor-0"].needed
    assert not table["processor-1"].needed
    scraped = monitoring.prometheus_config(settings)["scrape_configs"][0]["static_configs"]
    ports = [target for entry in scraped for target in entry["targets"]]
    assert "127.0.0.1:21041" in ports
    assert len(set(ports)) == len(ports)


def test_a_second_replica_of_scoring_is_looked_at_like_the_first() -> None:
    settings = msgspec.structs.replace(settings_for(HOME, 21000), stream_replicas=2)
    scraped = monitoring.prometheus_config(settings)["scrape_configs"][0]["static_configs"]
    assert "127.0.0.1:21057" in [target for entry in scraped for target in entry["targets"]]
    for name in ("processors", "stream_replicas"):
        with pytest.raises(ValueError, match=f"{name} is 1 or 2, not 3"):
            msgspec.structs.replace(settings, **{name: 3})


def test_what_this_machine_lacks_is_left_out_or_refused() -> None:
    settings = settings_for(HOME, 21000)
    lean = programs(settings, replace(TOOLS, prometheus=None, alertmanager=None, drift_python=None))
    assert not {"prometheus", "alertmanager", "drift-0"} & {program.name for program in lean}
    with pytest.raises(StackError, match="make setup"):
        programs(settings, replace(TOOLS, redis_server=None))
    with pytest.raises(StackError, match="--embedded"):
        programs(settings, replace(TOOLS, java=None))
    embedded = msgspec.structs.replace(settings, embedded=True)
    broker = next(p for p in programs(embedded, replace(TOOLS, java=None)) if p.name == "kafka")
    assert not broker.restart


def test_kafka_listens_on_loopback_with_replication_factors_of_one() -> None:
    text = kafka.properties(settings_for(HOME, 21000))
    entries = dict(line.split("=", 1) for line in text.splitlines())
    assert entries["listeners"] == "PLAINTEXT://127.0.0.1:21000,CONTROLLER://127.0.0.1:21001"
    assert entries["auto.create.topics.enable"] == "false"
    factors = {key: value for key, value in entries.items() if key.endswith("replication.factor")}
    assert set(factors.values()) == {"1"}
    assert len(factors) == 3


def test_redis_keeps_its_log_each_second_and_listens_on_loopback() -> None:
    lines = redis.config(settings_for(HOME, 21000, redis_socket="/r/redis.sock")).splitlines()
    for line in ("bind 127.0.0.1", "port 21002", 'unixsocket "/r/redis.sock"', "appendonly yes", "appendfsync everysec", 'save ""'):  # fmt: skip
        assert line in lines


def test_a_long_home_gets_a_short_folder_for_its_sockets() -> None:
    assert settings_for(Path("/h"), 21000).socket_dir == Path("/h/run")
    long = settings_for(Path("/h/" + "x" * 100), 21000)
    assert len(str(long.socket_dir)) < 60
    assert long.socket_dir != settings_for(Path("/h/" + "y" * 100), 21000).socket_dir


def test_prometheus_scrapes_every_process_that_serves_metrics() -> None:
    settings = settings_for(HOME, 21000)
    jobs = monitoring.prometheus_config(settings)["scrape_configs"]
    by_name = {
        entry["labels"]["process"]: entry["targets"] for job in jobs for entry in job["static_configs"]
    }
    assert set(by_name) == {name for name in METRICS_PORTS if not name.endswith("-1")}
    assert by_name["processor-0"] == ["127.0.0.1:21040"]


def test_restarts_are_counted_from_the_supervisors_log(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 21000)
    settings.log_dir.mkdir()
    log = settings.log_dir / "supervisord.log"
    log.with_name("supervisord.log.1").write_text("2026-01-01 INFO spawned: 'kafka' with pid 10\n")
    log.write_text(
        "INFO spawned: 'kafka' with pid 11\nINFO exited: kafka\nINFO spawned: 'redis' with pid 12\n"
    )
    assert restarts(settings) == {"kafka": 1, "redis": 0}


def test_the_state_follows_from_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(HOME, 21000)
    answering = True
    monkeypatch.setattr(stack_status, "answering", lambda _settings: answering)

    def state(**changes: str) -> str:
        names = dict.fromkeys((*stack_status.NEEDED, "mlflow"), "running") | {
            name.replace("_", "-"): value for name, value in changes.items()
        }
        return stack_status.state(settings, [{"name": n, "state": s} for n, s in names.items()])

    assert state() == "ready"
    assert state(mlflow="failed") == "degraded"
    assert state(mlflow="restarting") == "degraded"
    assert state(mlflow="starting") == "ready"
    assert state(redis="restarting") == "starting"
    assert stack_status.state(settings, []) == "down"
    answering = False
    assert state() == "starting"


def test_java_is_known_by_its_release_file(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch()
    for text, version in (
        ('JAVA_VERSION="17.0.15"', 17),
        ('JAVA_VERSION="1.8.0_412"', 8),
        ('JAVA_VERSION="21"', 21),
    ):
        (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\n{text}\n')
        assert java_version(java) == version
