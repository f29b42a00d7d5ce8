"""Runs a peer on its own broker with our configuration: its CPU, and the same traffic as ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from loadtest.bench.features_parts.kafka_and_redis import PartsError, running_parts
from loadtest.bench.harness.processes import cpu_s, running_once_said
from loadtest.peers.installing import PeerError
from loadtest.traffic.measuring_client import MeasurementError
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
        """One run; returns the summary of ``tollgate simulate --json``, with the same sender and measurement as ours.

        Raises:
            PeerError: its broker is unreachable, or it decides nothing.
        """
        run = Run(
            rate=rate, seconds=seconds, seed=1, cards=CARDS, labels_after_s=labels_after_s, wait_s=wait_s
        )
        try:
            return simulate(self.bootstrap, None, run, look=self._look)
        except (SendError, MeasurementError, LedgerUnreachable) as error:
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
            running_parts(0, redis_too=False) as broker,
            tempfile.TemporaryDirectory(prefix="tollgate-peer-") as folder,
        ):
            if broker.embedded:
                raise PeerError("no Kafka here, only its mock")
            filled = [part.format(bootstrap=broker.settings.kafka, folder=folder) for part in command]
            with running_once_said(filled, lambda line: line.strip() == "ready", READY_WITHIN_S) as (
                process,
                _,
            ):
                processes = {"kafka": psutil.Process(broker.kafka_pid), name: process}
                yield RunningPeer(broker.settings.kafka, processes)
    except PartsError as error:
        raise PeerError(str(error)) from error
