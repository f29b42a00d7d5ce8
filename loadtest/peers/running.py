"""A peer at work on a broker of its own, which is set up as ours; its CPU, and traffic that it gets exactly as ours does."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from loadtest.bench.features_parts.parts import PartsError, running_parts
from loadtest.bench.processes import cpu_s, end
from loadtest.peers.installing import CHECKOUT, PeerError
from loadtest.traffic.sending import SendError
from loadtest.traffic.simulation import Run, simulate
from streams.audit import LedgerUnreachable

READY_WITHIN_S = 90.0
#: as `tollgate simulate`'s live runs
CARDS = 100_000


@dataclass(frozen=True)
class RunningPeer:
    """Bootstrap address of its broker, and its processes by name: ``kafka`` and itself."""

    bootstrap: str
    processes: dict[str, psutil.Process]

    def offer(self, rate: int, seconds: float, *, labels_after_s: float, wait_s: float) -> dict[str, Any]:
        """One run: the summary of ``tollgate simulate --json``, by the same sender and the same measurement.

        Raises:
            PeerError: its broker is not there, or it decides nothing.
        """
        run = Run(
            rate=rate, seconds=seconds, seed=1, cards=CARDS, labels_after_s=labels_after_s, wait_s=wait_s
        )
        try:
            return simulate(self.bootstrap, run, look=self._look)
        except (SendError, LedgerUnreachable) as error:
            raise PeerError(f"{rate:,}/s: {error}") from error

    def _look(self) -> list[dict[str, Any]]:
        try:
            return [
                {"name": name, "pid": process.pid, "cpu_s": cpu_s(process)}
                for name, process in self.processes.items()
            ]
        except psutil.NoSuchProcess as error:
            raise PeerError(f"it ended: {error}") from error


@contextmanager
def running_peer(name: str, command: Sequence[str]) -> Iterator[RunningPeer]:
    """Start a broker and a peer; ``{bootstrap}`` and ``{folder}`` in its command get their values. Nothing is left behind.

    Raises:
        PeerError: the broker or the peer did not start in time.
    """
    try:
        with (
            running_parts(0, "kafka") as broker,
            tempfile.TemporaryDirectory(prefix="tollgate-peer-") as folder,
        ):
            if broker.embedded:
                raise PeerError("no Kafka here, only its mock")
            filled = [part.format(bootstrap=broker.settings.kafka, folder=folder) for part in command]
            with _started(filled, Path(folder) / "errors") as process:
                processes = {"kafka": psutil.Process(broker.kafka_pid), name: psutil.Process(process.pid)}
                yield RunningPeer(broker.settings.kafka, processes)
    except PartsError as error:
        raise PeerError(str(error)) from error


@contextmanager
def _started(command: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[str]]:
    """The process, once it has printed "ready"."""
    with errors.open("w") as stderr:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    watchdog = threading.Timer(READY_WITHIN_S, process.kill)
    watchdog.start()
    try:
        if not any(line.strip() == "ready" for line in process.stdout):
            raise PeerError(f"it was not ready: {errors.read_text()[-500:]}")
        watchdog.cancel()
        # what it prints from now on is nobody's, and must not fill the pipe
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield process
    finally:
        watchdog.cancel()
        end(process)
