"""On a machine without Java, Maven or root, embedded mode is chosen automatically, and a message says what it lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra import stack
from infra.stack.lifecycle import choose_form
from infra.stack.tools import CHECKOUT, Tools, find_tools

DURABLE = "nothing on topics is durable"
ABSENT = {"java", "mvn", "sudo", "apt-get", "id", "python3.11", "nvidia-smi"}


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH: what this machine has, less Java, Maven, apt-get and sudo, and a user who is not root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for source in (Path("/bin"), Path("/usr/bin")):
        for file in source.iterdir():
            link = folder / file.name
            if file.name not in ABSENT and not link.is_symlink():
                link.symlink_to(file)
    (folder / "python3.11").symlink_to(sys.executable)
    program(folder, "id", "echo 1000")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environments are there already: setting up is a matter of packages and jars alone."""
    folder = tmp_path / "checkout"
    (folder / "infra").mkdir(parents=True)
    shutil.copy(CHECKOUT / "infra" / "setup.sh", folder / "infra")
    shutil.copytree(CHECKOUT / "infra" / "requirements", folder / "infra" / "requirements")
    (folder / "infra" / "stack").mkdir()
    for name in ("kafka-jars.sha256", "kafka-pom.xml"):
        shutil.copy(CHECKOUT / "infra" / "stack" / name, folder / "infra" / "stack")
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    for name in (".venv", ".venv-drift"):
        (folder / name).mkdir()
    files = [folder / "infra" / "requirements" / f"{name}.txt" for name in ("main", "dev", "gpu")]
    wanted = _digest([*files, folder / "pyproject.toml"])
    (folder / ".venv" / ".stamp").write_text(f"dev cpu {wanted}\n")
    drift = _digest([folder / "infra" / "requirements" / "drift.txt"])
    (folder / ".venv-drift" / ".stamp").write_text(f"{drift}\n")
    return folder


def _digest(files: list[Path]) -> str:
    done = subprocess.run(
        ["sha256sum"], input=b"".join(file.read_bytes() for file in files), capture_output=True, check=True
    )
    return done.stdout.decode()[:64]


def set_up(checkout: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(checkout / "infra" / "setup.sh"), "--dev"],
        env={"PATH": str(path), "HOME": str(checkout), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_setup_without_root_goes_on_without_java_and_says_so(bare_path: Path, checkout: Path) -> None:
    program(bare_path, "apt-get", "exit 100")
    done = set_up(checkout, bare_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [text for text in done.stdout.splitlines() if "remain missing" in text]
    assert line.startswith("setup: no root access")
    assert "maven" in line
    assert "openjdk-17-jre-headless" in line
    assert "(embedded mode): " + DURABLE in done.stdout
    assert "apt-get install openjdk-17-jre-headless maven" in done.stdout


def test_setup_on_a_machine_without_apt_says_that(bare_path: Path, checkout: Path) -> None:
    done = set_up(checkout, bare_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "setup: no apt-get, so these remain missing:" in done.stdout


def test_setup_whose_packages_cannot_be_fetched_names_them_and_goes_on(
    bare_path: Path, checkout: Path
) -> None:
    program(bare_path, "apt-get", "exit 100")
    # root by sudo, and no mirror that answers; nothing of this machine is touched
    program(
        bare_path, "sudo",
        'case "$2" in true | chmod | rm) exit 0 ;; tee) cat >/dev/null; exit 0 ;; esac\n'
        "echo 'E: Failed to fetch some archives' >&2; exit 100",
    )  # fmt: skip
    done = set_up(checkout, bare_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for package in ("maven", "openjdk-17-jre-headless"):
        assert f"could not be installed: {package}" in done.stdout
    assert DURABLE in done.stdout
    # in embedded mode nothing is installed
    asked = set_up(checkout, bare_path, EMBEDDED="1")
    assert asked.returncode == 0
    assert "could not be installed" not in asked.stdout
    assert DURABLE in asked.stdout


def test_setup_whose_jars_cannot_be_fetched_says_so(bare_path: Path, checkout: Path) -> None:
    program(bare_path, "mvn", "exit 1")
    done = set_up(checkout, bare_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Kafka's jars could not be downloaded" in done.stdout
    assert DURABLE in done.stdout


@pytest.mark.parametrize(
    ("lack", "why"), [("java", "Java 17 is missing"), ("kafka_jars", "Kafka's jars are missing")]
)
def test_embedded_mode_is_chosen_automatically(lack: str, why: str, tmp_path: Path) -> None:
    whole = Tools(
        python=Path(sys.executable), drift_python=None, java=Path("/usr/bin/java"), kafka_jars=Path("/jars"),
        redis_server=Path("/usr/bin/redis-server"), prometheus=None, alertmanager=None,
    )  # fmt: skip
    said: list[str] = []
    settings = stack.settings_for(tmp_path / "home", 21000)
    assert not choose_form(settings, whole, said.append).embedded
    assert said == []
    assert choose_form(settings, replace(whole, **{lack: None}), said.append).embedded
    (text,) = said
    assert why in text
    assert DURABLE in text
    assert "all records are lost when it stops" in text


def test_doctor_finds_java_missing_and_no_fault_in_it(bare_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.cli.main", "doctor", "--home", str(tmp_path / "home")]
    done = subprocess.run(
        command, env={"PATH": str(bare_path)}, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    (line,) = [text for text in done.stdout.splitlines() if " Java " in text]
    assert line.startswith("warning Java")
    assert "without it the stack runs in embedded mode" in line


def test_a_machine_without_java_has_no_real_kafka(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bare_path))
    tools = find_tools()
    assert tools.java is None
    assert not tools.real_kafka
