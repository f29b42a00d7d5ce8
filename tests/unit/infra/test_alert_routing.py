"""Alertmanager's file: checked and routed by its own tool, written once, and never again."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import click
import pytest
import yaml

from infra.stack.ports import free_port_base, settings_for
from infra.stack.servers import monitoring
from services.cli.main import run
from services.cli.operating.pages import LONGEST
from services.cli.terminal.times import Length


@pytest.fixture
def file(tmp_path: Path) -> Path:
    settings = settings_for(tmp_path, 21000)
    monitoring.prepare(settings)
    return monitoring.alertmanager_file(settings)


def amtool(*args: str) -> str:
    binary = shutil.which("amtool")
    if binary is None:
        pytest.skip("amtool is not installed (it comes with the prometheus-alertmanager package)")
    done = subprocess.run([binary, *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_that_a_stack_gets_is_good(file: Path) -> None:
    assert "3 receivers" in amtool("check-config", str(file))
    urls = {each["webhook_configs"][0]["url"] for each in yaml.safe_load(file.read_text())["receivers"]}
    assert urls == {"http://127.0.0.1:21007/alerts"}


@pytest.mark.parametrize("severity", ["page", "ticket", "info"])
def test_each_severity_has_its_receiver(file: Path, severity: str) -> None:
    route = ("config", "routes", "test", f"--config.file={file}", f"severity={severity}", "alertname=X")
    assert amtool(*route).strip() == severity


def test_an_alert_without_severity_is_a_page(file: Path) -> None:
    assert amtool("config", "routes", "test", f"--config.file={file}", "alertname=X").strip() == "page"


def test_the_owners_changes_stay(tmp_path: Path, file: Path) -> None:
    file.write_text(file.read_text() + "# ours\n")
    monitoring.prepare(settings_for(tmp_path, 22000))
    assert file.read_text().endswith("# ours\n")


def test_rules_lead_to_runbooks_that_open(tmp_path: Path, file: Path) -> None:
    written = [
        yaml.safe_load(path.read_text()) for path in monitoring.rules_files(settings_for(tmp_path, 21000))
    ]
    rules = [
        rule for file in written for group in file["groups"] for rule in group["rules"] if "alert" in rule
    ]
    links = {rule["annotations"]["runbook_url"] for rule in rules}
    assert "http://127.0.0.1:21007/runbooks/KafkaDown" in links
    assert all(link.startswith("http://127.0.0.1:21007/runbooks/") for link in links)


@pytest.mark.parametrize(("text", "length"), [("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)), ("7d", timedelta(days=7))])  # fmt: skip
def test_a_length_of_time(text: str, length: timedelta) -> None:
    assert Length(LONGEST).convert(text, None, None) == length


@pytest.mark.parametrize("text", ["", "30", "0m", "8d", "1w", "-1h", "1.5h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 30m, 2h or 1d"):
        Length(LONGEST).convert(text, None, None)


def test_silence_names_the_alerts_that_there_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings_for(tmp_path, 21000).save()
    assert run(["silence", "KafkaDwon", "--for", "30m", "--why", "test", "--home", str(tmp_path)]) == 2
    assert "KafkaDown" in capfd.readouterr().err


def test_without_alertmanager_the_commands_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings_for(tmp_path, free_port_base()).save()
    for command in (["pages"], ["silence", "KafkaDown", "--for", "1m", "--why", "test"]):
        assert run([*command, "--home", str(tmp_path)]) == 3
        assert "does not answer" in capfd.readouterr().err
