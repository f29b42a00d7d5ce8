"""Checks whether this machine can run a stack. Each check says what was found, how bad it is, and how to fix it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from infra import disk, memory
from infra.stack import kafka_jars, ports, tools

Verdict = Literal["ok", "warning", "wrong"]

NEEDED_MEMORY_MB = 6_000
NEEDED_DISK_MB = 8_000
MAVEN_ADVICE = "apt-get install maven, then `make setup`"
#: packages that the main environment must have
PACKAGES = (
    "confluent-kafka",
    "faust-streaming",
    "ray",
    "feast",
    "xgboost",
    "onnxruntime",
    "mlflow",
    "supervisor",
    "redis",
)


@dataclass(frozen=True)
class Check:
    """``warning``: the stack runs, with less function; ``wrong``: the stack does not run until this is fixed."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""

    def line(self) -> str:
        mark = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}[self.verdict]
        return f"{mark} {self.name:<14} {self.found}" + (f" -> {self.mend}" if self.mend else "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def healthy(checks: list[Check]) -> bool:
    return all(check.verdict != "wrong" for check in checks)


def examine(home: Path, port_base: int, *, check_ports: bool = True) -> list[Check]:
    """All checks, in the order in which to fix them. Takes about two seconds."""
    found = tools.find_tools()
    return [
        _python(),
        _packages(),
        _drift(found),
        _java(),
        _maven(found),
        _jars(found),
        _redis(found),
        _optional("Prometheus", found.prometheus, "metrics are not stored and no alert fires", "apt-get install prometheus"),
        _optional(
            "Alertmanager", found.alertmanager, "no alert reaches on-call", "apt-get install prometheus-alertmanager"
        ),
        _memory(),
        _disk(home),
        _open_files(),
        *([_ports(port_base)] if check_ports else []),
        _gpu(),
    ]  # fmt: skip


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        return Check("Python", "ok", version)
    return Check(
        "Python", "wrong", version, "Alibi Detect 0.11.4 needs Python 3.11: install it, then `make setup`"
    )


def _packages() -> Check:
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("environment", "wrong", f"missing: {', '.join(missing)}", "run `make setup`")
    return Check("environment", "ok", ", ".join(versions))


def _drift(found: tools.Tools) -> Check:
    if found.drift_python is None:
        return Check("drift env", "warning", "no .venv-drift: drift is not tested", "run `make setup`")
    code = "from importlib.metadata import version as v; print(v('alibi-detect'), v('numpy'))"
    try:
        done = subprocess.run(
            [found.drift_python, "-c", code], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return Check(
            "drift env",
            "warning",
            "alibi-detect is missing in .venv-drift",
            "remove .venv-drift, run `make setup`",
        )
    alibi, numpy = done.stdout.split()
    if alibi != "0.11.4":
        return Check(
            "drift env",
            "wrong",
            f"alibi-detect {alibi}",
            "versions after 0.11.4 have no free licence: run `make setup`",
        )
    return Check("drift env", "ok", f"alibi-detect {alibi}, numpy {numpy}")


def _java() -> Check:
    path = shutil.which("java")
    version = tools.java_version(Path(path)) if path else None
    mend = (
        f"apt-get install openjdk-{tools.MIN_JAVA}-jre-headless; without it the stack runs in embedded mode"
    )
    if version is None:
        return Check("Java", "warning", "not found", mend)
    if version < tools.MIN_JAVA:
        return Check(
            "Java",
            "warning",
            f"version {version}, Kafka {kafka_jars.KAFKA_VERSION} needs {tools.MIN_JAVA}",
            mend,
        )
    return Check("Java", "ok", f"version {version}")


def _maven(found: tools.Tools) -> Check:
    path = shutil.which("mvn")
    if path:
        return Check("Maven", "ok", path)
    if found.kafka_jars:
        return Check("Maven", "ok", "not found, not needed: Kafka's jars are installed")
    return Check("Maven", "warning", "not found: Kafka's jars cannot be downloaded", MAVEN_ADVICE)


def _jars(found: tools.Tools) -> Check:
    if found.kafka_jars:
        changed = kafka_jars.differences(found.kafka_jars)
        if changed:
            text = f"{len(changed)} jars in {found.kafka_jars} are not as listed: {changed[0]}"
            return Check("Kafka", "warning", text, f"remove {found.kafka_jars}, then `make setup`")
        return Check("Kafka", "ok", f"{kafka_jars.KAFKA_VERSION} in {found.kafka_jars}")
    return Check(
        "Kafka", "warning", "no jars: the stack runs in embedded mode, nothing is durable", "run `make setup`"
    )


def _redis(found: tools.Tools) -> Check:
    if found.redis_server is None:
        return Check("Redis", "wrong", "no redis-server", "run `make setup`, or apt-get install redis-server")
    try:
        done = subprocess.run(
            [found.redis_server, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            "Redis", "wrong", f"{found.redis_server} does not run: {error}", "apt-get install redis-server"
        )
    version = done.stdout.split("v=")[-1].split()[0]
    return Check("Redis", "ok", f"{version} ({found.redis_server})")


def _optional(name: str, path: Path | None, loss: str, mend: str) -> Check:
    return Check(name, "ok", str(path)) if path else Check(name, "warning", f"not found: {loss}", mend)


def _memory() -> Check:
    free = memory.free_mb()
    text = f"{free:,} MB free, a stack needs about {NEEDED_MEMORY_MB:,} MB"
    if free < NEEDED_MEMORY_MB:
        return Check("memory", "warning", text, "stop other programs, or the kernel may kill processes")
    return Check("memory", "ok", text)


def _disk(home: Path) -> Check:
    folder = next(parent for parent in (home, *home.parents) if parent.exists())
    if not os.access(folder, os.W_OK):
        return Check("disk", "wrong", f"{folder} is not writable", "choose another --home")
    # the system's temporary folder counts too: it holds Ray's session
    left = {place: disk.free_mb(place) for place in disk.written_to(folder)}
    text = ", ".join(f"{free:,} MB free at {place}" for place, free in left.items())
    if min(left.values()) < NEEDED_DISK_MB:
        return Check(
            "disk", "wrong", text, f"free {NEEDED_DISK_MB:,} MB, or choose another --home (and TMPDIR)"
        )
    return Check("disk", "ok", text)


def _open_files() -> Check:

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        return Check("open files", "warning", f"limit {soft}", f"ulimit -n {min(hard, 65536)}")
    return Check("open files", "ok", f"limit {soft}")


def _ports(port_base: int) -> Check:
    taken = ports.busy(port_base)
    if taken:
        return Check("ports", "wrong", "; ".join(taken), "stop that process, or `tollgate up --port-base N`")
    return Check("ports", "ok", f"{port_base} to {port_base + ports.BLOCK - 1} are free")


def _gpu() -> Check:
    binary = shutil.which("nvidia-smi")
    if binary is None:
        return Check("GPU", "ok", "none; none is needed")
    try:
        done = subprocess.run([binary, "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return Check("GPU", "warning", "nvidia-smi fails: scoring uses the CPU", "check the driver")
    try:
        return Check("GPU", "ok", f"{done.stdout.splitlines()[0]}; cupy {metadata.version('cupy-cuda12x')}")
    except (metadata.PackageNotFoundError, IndexError):
        return Check(
            "GPU", "warning", "present, but cupy is not installed: scoring uses the CPU", "run `make setup`"
        )
