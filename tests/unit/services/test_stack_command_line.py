"""``tollgate``: every command is listed, errors have their exit codes, and help stays quick."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from infra.stack import free_port_base, settings_for
from services.cli import main
from services.cli.stack import KEPT, _settings, addresses
from streams.runtime.kafka.clients import DeliveryError
from streams.runtime.settings import Settings, SettingsError


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from services.cli.main import run; run(['--help']); "
        "print(any(m.split('.')[0] in ('ray', 'pyarrow', 'confluent_kafka', 'pandas', 'mlflow') for m in sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert out.splitlines()[-1] == "False"
    for name in main.COMMANDS:
        assert f"  {name}" in out


def test_a_command_that_is_none_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["dance"]) == 2
    assert "no such command: dance" in capsys.readouterr().err


def test_a_command_whose_module_is_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(main.COMMANDS, "absent", main.Entry("services.cli.absent", "absent", "Not there."))
    assert main.run(["absent"]) == 3
    assert "`tollgate absent` cannot be loaded" in capsys.readouterr().err
    assert main.run(["--help"]) == 0


def test_status_of_a_folder_without_a_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "my stack"
    assert main.run(["status", "--home", str(home)]) == 3
    assert f"tollgate up --home '{home}'" in capsys.readouterr().err


def test_status_in_json_has_one_form_with_a_stack_and_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["status", "--home", str(tmp_path), "--json"]) == 3
    without = json.loads(capsys.readouterr().out)
    settings = settings_for(tmp_path, free_port_base())
    settings.save()
    assert main.run(["status", "--home", str(tmp_path), "--json"]) == 3
    stopped = json.loads(capsys.readouterr().out)
    assert list(without) == list(stopped)
    assert (without["state"], without["processes"], without["http"]) == ("down", [], None)
    assert (stopped["state"], stopped["processes"], stopped["http"]) == ("down", [], settings.http)
    assert "no stack in" in without["problems"][0]


@pytest.mark.parametrize("command", ["status", "up", "down", "models list"])
def test_a_home_that_is_a_file_is_bad_usage(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main.run([*command.split(), "--home", str(home)]) == 2
        assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["models at TIME", "features show card c-1 --at TIME", "simulate --rate 1 --seconds 1 --from TIME"],
)
def test_a_time_is_rfc_3339_in_every_command(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path)]
    for right in ("2026-11-21T10:15:30.123Z", "2026-11-21t10:15:30z", "2026-11-21T10:15:30+05:45"):
        assert main.run([*command.replace("TIME", right).split(), *home]) == 3
        assert "no stack in" in capsys.readouterr().err
    for wrong, why in (("yesterday", "is not a time"), ("2026-11-21T10:15:30", "has no zone")):
        assert main.run([*command.replace("TIME", wrong).split(), *home]) == 2
        assert why in capsys.readouterr().err


def test_down_where_nothing_is(tmp_path: Path) -> None:
    assert main.run(["down", "--home", str(tmp_path)]) == 0


def test_up_with_ports_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["up", "--home", str(tmp_path), "--port-base", "70000"]) == 2
    assert "--port-base" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 3),
        (DeliveryError("x"), 3),
        (ConnectionRefusedError("x"), 3),
        (click.UsageError("x"), 2),
        (PermissionError(errno.EACCES, "may not", "/root/x"), 2),
        (OSError(errno.EROFS, "read-only", "/mnt/x"), 2),
        (OSError(errno.ENOSPC, "full", "/mnt/x"), None),
        (ValueError("x"), None),
    ],
)
def test_errors_mean_exit_codes(error: Exception, code: int | None) -> None:
    assert main.exit_code(error) == code


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that takes --home and raises what the list holds."""
    from services.cli.terminal.options import home_option

    errors: list[BaseException] = []

    @click.command()
    @home_option
    def fail(home: Path) -> None:
        raise errors[0]

    monkeypatch.setitem(main.COMMANDS, "fail", main.Entry("services.cli.main", "fail", "Fails."))
    monkeypatch.setattr(main, "fail", fail, raising=False)
    return errors


def test_a_fault_of_the_program_is_one_line_and_a_traceback_in_the_log(
    tmp_path: Path, command: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    command.append(ZeroDivisionError("a bug"))
    assert main.run(["fail", "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert "Traceback" in (tmp_path / "logs" / "cli.log").read_text()


def test_an_interrupted_command_has_no_traceback(
    tmp_path: Path, command: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    command.append(KeyboardInterrupt())
    assert main.run(["fail", "--home", str(tmp_path)]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_doctor_gives_one_verdict_a_thing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main.run(["doctor", "--home", str(tmp_path), "--port-base", "20500", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == (0 if report["healthy"] else 1)
    names = {check["name"] for check in report["checks"]}
    assert {"Python", "environment", "drift env", "Java", "Redis", "memory", "disk", "ports"} <= names
    for check in report["checks"]:
        assert check["verdict"] == "ok" or check["mend"]


def test_a_start_keeps_what_a_person_wrote_into_the_settings(tmp_path: Path) -> None:
    edited: dict[str, Any] = {
        "partitions": 8, "processors": 2, "stream_replicas": 2, "gpus": 0, "deadline_ms": 80, "access": "required",
        "profile_cache_mb": 64, "redis_memory_mb": 512, "tenants": ("shop-a", "shop-b"), "unknown_tenant": "shop-b",
        "edge_keys": str(tmp_path / "edge.keys"),
    }  # fmt: skip
    assert set(edited) == set(KEPT)
    before = msgspec.structs.replace(settings_for(tmp_path, 20_000), **edited)
    before.save()
    after = _settings(tmp_path, None, embedded=False)
    assert {name: getattr(after, name) for name in KEPT} == edited
    # the others follow from the command, from settings.toml, or from the start itself: a new field must say where it belongs
    assert set(Settings.__struct_fields__) - set(KEPT) == {
        "home", "port_base", "kafka", "redis", "redis_socket", "temp", "http", "prometheus", "alertmanager", "mlflow", "oncall", "console",
        "attributes", "exploration", "review", "elsewhere", "embedded", "secure", "principal",
    }  # fmt: skip


def test_each_address_is_named_once(tmp_path: Path) -> None:
    for form in ({}, {"embedded": True}):
        names = [
            line.split("  ")[0] for line in addresses(settings_for(tmp_path, 20_000, **form)).splitlines()
        ]
        assert len(names) == len(set(names)) and "Kafka" in names
