"""The producer's side of ``loadtest.traffic.measuring_process``: starts the process, reads its progress and result, ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from loadtest.traffic.measuring_process import WATCHED, Begin, Produced, Progress, Result
from streams.audit import end_of
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.runtime.kafka.connection import part_of


class MeasurementError(Exception):
    """The measuring process ended or stopped answering before its result."""

    exit_code = 3


class Measurement:
    """Measures one run, from the ends of the topics at its start. A context manager that always ends its process."""

    def __init__(
        self,
        bootstrap: str,
        redis_address: str | None,
        *,
        id_prefix: str | None = None,
        run: str | None = None,
        verdicts: Path | None = None,
        tell_declined: bool = False,
        tenants: Tenants = ANY_TENANT,
    ) -> None:
        """``tenants``: for which of them transactions count; ``tell_declined``: collect for ``take_declined`` whether each transaction with the prefix was declined."""
        to = None if verdicts is None else str(verdicts)
        ends = end_of(bootstrap, WATCHED)
        part = part_of(bootstrap)
        self._begin = Begin(
            str(bootstrap), redis_address, ends, id_prefix, run, to, part, tell_declined, tuple(tenants.known),
            tenants.instead,
        )  # fmt: skip
        self._declined: deque[dict[str, bool]] = deque()
        self._result: Result | None = None
        self._progress = Progress(0, 0, 0, 0)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Measurement:
        # its own session: Ctrl-C reaches only the producer, which then ends this process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.traffic.measuring_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._tell(self._begin)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.close()
            process.wait(3.0)
        except (subprocess.TimeoutExpired, OSError):
            process.kill()
            process.wait(3.0)

    @property
    def progress(self) -> Progress:
        """The newest progress, at most about 0.2 s old."""
        return self._progress

    def take_declined(self) -> dict[str, bool]:
        """Transactions decided since the last call: whether each was declined."""
        out: dict[str, bool] = {}
        while self._declined:
            out |= self._declined.popleft()
        return out

    @property
    def accounted(self) -> int:
        """Records that nobody waits for any more, of the newest progress: decided, refused, or sent before."""
        return self._progress.decided + self._progress.dead_lettered + self._progress.repeats

    def finish(self, produced: int, wait_s: float) -> Result:
        """Wait until every produced transaction is accounted for, or no record has arrived for ``wait_s``.

        Raises:
            MeasurementError: the measuring process ended or does not answer.
        """
        self._tell(Produced(produced, wait_s))
        assert self._reader is not None
        last, changed = self._progress, time.monotonic()
        while self._reader.is_alive():
            self._reader.join(0.05)
            if self._progress is not last:
                last, changed = self._progress, time.monotonic()
            if time.monotonic() - changed > wait_s + 30.0:
                raise MeasurementError("the measuring process does not answer")
        if self._result is None:
            raise MeasurementError("the measuring process ended without a result")
        return self._result

    def check(self) -> None:
        """Raises: MeasurementError if the measuring process has ended."""
        if self._process is None or self._process.poll() is not None:
            raise MeasurementError("the measuring process has ended")

    def _tell(self, message: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise MeasurementError(f"the measuring process has ended: {error}") from error

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        decoder = msgspec.json.Decoder(Progress | Result)
        for line in self._process.stdout:
            message = decoder.decode(line)
            if isinstance(message, Result):
                self._result = message
                return
            if message.declined:
                self._declined.append(message.declined)
            self._progress = message


def cpu_us_per_transaction(
    before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]], produced: int
) -> dict[str, Any]:
    """CPU time (us) of the stack's processes between two snapshots, per transaction; ``total`` is None without data.

    For a process that was restarted in between, only the new process counts.
    """
    used = {entry["name"]: (entry["pid"], entry["cpu_s"]) for entry in before}
    spent: dict[str, float] = {}
    for entry in after:
        pid, cpu_s = used.get(entry["name"], (None, 0.0))
        spent[entry["name"]] = entry["cpu_s"] - (cpu_s if pid == entry["pid"] else 0.0)
    if not spent or not produced:
        return {"total": None, "by_process": {}}
    by_process = {name: round(max(0.0, s) * 1e6 / produced, 1) for name, s in spent.items()}
    return {"total": round(sum(by_process.values()), 1), "by_process": by_process}
