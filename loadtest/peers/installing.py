"""Installs the peers when a benchmark first needs them: a Python environment for each, or jars through Maven.

Everything goes to ``.cache/peers``; the versions are in requirements with hashes and in ``kafka_streams/pom.xml``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PEERS = CHECKOUT / "loadtest" / "peers"
CACHE = CHECKOUT / ".cache" / "peers"
UV = CHECKOUT / ".cache" / "tools" / "bin" / "uv"
INSTALL_WITHIN_S = 400.0


class PeerError(Exception):
    """A peer cannot be installed, started or brought to its end here; the text says why."""


def python_of(name: str) -> str:
    """The interpreter of a peer's environment, made anew when its requirements changed.

    Raises:
        PeerError: the packages cannot be installed.
    """
    requirements = PEERS / "requirements" / f"{name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder, python = CACHE / name, CACHE / name / "bin" / "python"
    stamp = folder / ".stamp"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _install([str(UV), "venv", "-q", "--python", sys.executable, str(folder)])
        _install(
            [str(UV), "pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", str(requirements)]
        )  # fmt: skip
        stamp.write_text(wanted)
    return str(python)


def java_command(main: str) -> list[str]:
    """How to start a class of ``kafka_streams``, compiled first; Maven does again only what changed.

    Raises:
        PeerError: there is no Java or no Maven, or the build fails.
    """
    build, jars = CACHE / "kafka-streams", CACHE / "kafka-streams" / "jars"
    if shutil.which("java") is None or shutil.which("mvn") is None:
        raise PeerError("no Java or no Maven here")
    _install(
        [
            "mvn", "-q", "-B", "-f", str(PEERS / "kafka_streams" / "pom.xml"), f"-Dbench.build={build}", "compile",
            "dependency:copy-dependencies", f"-DoutputDirectory={jars}",
        ]
    )  # fmt: skip
    return ["java", "-Xmx512m", "-cp", f"{build / 'classes'}:{jars}/*", main]


def _install(command: list[str]) -> None:
    """Raises: PeerError with the last line that it said."""
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"not installed: {error}") from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()
        raise PeerError(f"not installed: {said[-1] if said else command[0]}")
