"""Replays a file through the stack: transactions in order, labels when they are due, with a limit on records in flight."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from loadtest.traffic.measuring_client import Measurement, cpu_us_per_transaction
from loadtest.traffic.sending import LABELS, TRANSACTIONS, Backpressure, Headers, Sender
from loadtest.traffic.simulation import Look
from loadtest.traffic.simulator.world import letters
from loadtest.traffic.summary import summary
from loadtest.traffic.verdicts import caught
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.log.records import HEADER_DEADLINE_MS
from streams.mapping import ReplayFile

#: at most so many undecided transactions, so that a replay does not fill disk and memory
IN_FLIGHT = 50_000
SLICE = 1_000


class Progress:
    """The progress of a replay, in rows."""

    def __init__(self, rows: int) -> None:
        self.rows, self.produced, self.labels, self.accounted = rows, 0, 0, 0


def replay(
    bootstrap: str,
    redis_address: str,
    file: ReplayFile,
    *,
    speed: float | None,
    all_labels: bool = False,
    wait_s: float = 30.0,
    tenants: Tenants = ANY_TENANT,
    look: Look = list,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[Progress], None] = lambda _progress: None,
) -> dict[str, Any]:
    """Send a file and wait for its decisions; returns the summary of the design's command line.

    ``tenants``: for which of them payments count. ``speed`` is seconds of the file's time per real second; None means as fast as the stack decides. Without a speed, and for
    a file that ended a day ago or earlier, transactions have no deadline: nobody waits for them, so that they page nobody and
    are no drift.

    Raises:
        LedgerUnreachable, SendError, MeasurementError: the broker, scoring or the measuring process does not answer.
    """
    run = letters(secrets.randbelow(19**8), 8)
    headers: Headers = [("tollgate-run", run)]
    if speed is None or _is_past(file, time.time()):
        headers = [*headers, (HEADER_DEADLINE_MS, "0")]
    sender, progress = Sender(bootstrap, "tollgate-replay"), Progress(file.rows)
    with (
        TemporaryDirectory() as folder,
        Measurement(
            bootstrap, redis_address, run=run, verdicts=Path(folder) / "verdicts.npy", tenants=tenants
        ) as measurement,
    ):
        before = look()

        def accounted() -> int:
            # counts from the start of this run; decisions of other traffic only make the limit less strict
            progress.accounted = measurement.accounted
            return progress.accounted

        hold = Backpressure(accounted, IN_FLIGHT)
        clock = _Clock(file.first_event_ms or 0, speed)
        try:
            for records, times in zip(file.transactions(SLICE), file.event_times(SLICE), strict=True):
                if stop():
                    break
                hold.wait(progress.produced, stop, measurement.check)
                for begin, end in clock.slices(times, stop):
                    sender.send_all(TRANSACTIONS, records.keys[begin:end], records.values[begin:end], headers)
                    progress.produced += end - begin
                    accounted()
                    watch(progress)
                progress.labels += _labels(sender, file, records.clock_ms)
            if all_labels:
                progress.labels += _labels(sender, file, None)
            sender.finish()
        except BaseException:
            sender.abandon()
            raise
        result = measurement.finish(progress.produced, wait_s)
        accounted()
        watch(progress)
        return {
            **summary(progress.produced, result, cpu_us_per_transaction(before, look(), progress.produced)),
            "labels_sent": progress.labels,
            **caught(Path(folder) / "verdicts.npy", file.fit),
            "file": file.report.to_json(),
        }


def _is_past(file: ReplayFile, now_s: float) -> bool:
    """Whether the newest payment of the file is older than a day."""
    span = file.report.span_ms
    return span is not None and span[1] < (now_s - 86_400) * 1000


def _labels(sender: Sender, file: ReplayFile, clock_ms: int | None) -> int:
    count = 0
    while (due := file.labels_until(clock_ms)).values:
        sender.send_all(LABELS, due.keys, due.values)
        count += len(due.values)
    return count


class _Clock:
    """Maps event time to real time."""

    def __init__(self, first_ms: int, speed: float | None) -> None:
        self._first_ms, self._speed, self._began = first_ms, speed, time.monotonic()

    def slices(self, times: np.ndarray, stop: Callable[[], bool]) -> Any:
        """Yield (begin, end) of rows as they become due; without a speed all at once."""
        count, begin = len(times), 0
        if self._speed is None:
            yield 0, count
            return
        reached = np.maximum.accumulate(times)
        while begin < count and not stop():
            now_ms = self._first_ms + (time.monotonic() - self._began) * 1000 * self._speed
            end = int(np.searchsorted(reached, now_ms, side="right"))
            if end > begin:
                yield begin, end
                begin = end
            else:
                time.sleep(min(0.05, max(0.001, (reached[begin] - now_ms) / 1000 / self._speed)))
