"""A run of simulated traffic: sends a world's transactions at a fixed rate and measures their decisions."""

from __future__ import annotations

import math
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from features.transaction import epoch_ms, from_ms, rfc3339
from loadtest.traffic.measuring_client import Measurement, cpu_us_per_transaction
from loadtest.traffic.sending import LABELS, TRANSACTIONS, Sender, pace
from loadtest.traffic.simulated_labels import AgedLabels, DueLabels, LabelsOfDecided
from loadtest.traffic.simulator import Attack, Drift, Plan, World, create_world, history_table
from loadtest.traffic.simulator.world import letters
from loadtest.traffic.summary import summary
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.mapping.encoding import (
    LIVE_HEAD,
    encode_keys,
    encode_labels,
    encode_live_tails,
    encode_transactions,
)

SEGMENT_ROWS = 500_000
BLOCK_ROWS = 20_000
#: rows generated before the clock starts (at most 0.4 GB), so that generating them takes no CPU during the measurement
READY_ROWS = 600_000
#: but not more rows than are sent in this time
READY_S = 60.0
#: streams of live traffic are numbered from here; histories use lower numbers
LIVE_STREAM = 1_000
#: at the end: how often to look for decisions that labels wait for, and how long without any before these labels are given up
LAST_LABELS_S, LAST_LABELS_WITHIN_S = 0.05, 5.0
Look = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True)
class Switch:
    """A drift or an attack that starts ``at_s`` seconds of real time after the start of the run."""

    kind: str
    at_s: float
    strength: float = 1.0


@dataclass(frozen=True)
class Run:
    """What to send. ``scale`` is simulated seconds per real second; 0 means live: event time is the time of sending.

    A scaled run covers ``seconds * scale`` of simulated time, in which labels become due. It begins at ``start_ms`` (UTC
    since 1970), so that one run can follow another; by default it ends now. In a live run no label becomes due, unless
    ``labels_after_s`` sends all labels that many seconds after their transactions. Labels of declined payments are never sent.
    """

    rate: float
    seconds: float
    seed: int = 1
    cards: int = 100_000
    scale: float = 0.0
    labels: bool = True
    drifts: tuple[Switch, ...] = ()
    attacks: tuple[Switch, ...] = ()
    id_prefix: str = ""
    fraud_rate: float = 0.008
    wait_s: float = 30.0
    start_ms: int | None = None
    labels_after_s: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1_000_000 and 0 < self.seconds <= 7 * 86_400):
            raise ValueError(
                "the rate must be above 0 and at most 1,000,000 a second, the seconds above 0 and at most a week"
            )
        if self.total < 1:
            raise ValueError("rate x seconds is less than one transaction")
        if not 0 <= self.scale <= 1_000_000:
            raise ValueError(f"the scale must be 0 (live) to 1,000,000, not {self.scale:g}")
        if self.start_ms is not None and not self.scale:
            raise ValueError("a live run starts now: a start time needs a scale")
        if self.labels_after_s is not None and (self.scale or self.labels_after_s < 0):
            raise ValueError("labels after 0 or more seconds are for live runs only, without a scale")

    def span_ms(self, now_ms: int) -> tuple[int, int]:
        """(begin, end) of the run in event time."""
        length = int(self.seconds * (self.scale or 1.0) * 1000)
        begin = now_ms if not self.scale else self.start_ms if self.start_ms is not None else now_ms - length
        return begin, begin + length

    @property
    def sends_labels(self) -> bool:
        """Whether labels can become due."""
        return self.labels and (self.scale > 0 or self.labels_after_s is not None)

    @property
    def total(self) -> int:
        return round(self.rate * self.seconds)


@dataclass(frozen=True)
class Block:
    """Rows ready to send. In a live run ``values`` lack the head with the event time."""

    keys: list[bytes | None]
    values: list[bytes]
    event_ms: np.ndarray
    table: pa.Table


def natural_scale(rate: float, world: World) -> float:
    """The scale at which each card of a world pays at its natural rate."""
    return rate / world.payments_per_second


def blocks(run: Run, world: World, start_ms: int, prefix: str) -> Iterator[Block]:
    """The run's rows in order of time, generated segment by segment, each when the previous one is used up."""
    step_ms = 1000 * (run.scale or 1.0)
    plan = Plan(
        fraud_rate=run.fraud_rate,
        drifts=[Drift(s.kind, int(start_ms + s.at_s * step_ms), s.strength) for s in run.drifts],
        attacks=[Attack(s.kind, int(start_ms + s.at_s * step_ms), s.strength) for s in run.attacks],
    )
    encode = encode_transactions if run.scale else encode_live_tails
    for segment, first in enumerate(range(0, run.total, SEGMENT_ROWS)):
        count = min(SEGMENT_ROWS, run.total - first)
        begin = start_ms + first / run.rate * step_ms
        end = begin + max(count / run.rate * step_ms, 1.0)
        table = history_table(
            world, from_ms(int(begin)), from_ms(int(end)), plan=plan, count=count, stream=LIVE_STREAM + segment,
            # rows are numbered from 0 in each segment, so the prefix names the segment
            id_prefix=prefix + letters(segment, 2),
        )  # fmt: skip
        for at in range(0, count, BLOCK_ROWS):
            part = table.slice(at, BLOCK_ROWS).combine_chunks()
            event_ms = part["event_time"].cast(pa.int64()).to_numpy()
            yield Block(encode_keys(part["card_id"]), encode(part), event_ms, part)


def ahead(source: Iterator[Block], depth: int, stop: Callable[[], bool] = lambda: False) -> Iterator[Block]:
    """The same blocks, generated by a thread up to ``depth`` ahead. The first is yielded when ``depth`` or all are ready.

    ``stop`` ends that wait. Closing the iterator ends the thread.
    """
    ready: queue.Queue[Block | BaseException | None] = queue.Queue(maxsize=depth)
    closed, filled = threading.Event(), threading.Event()

    def put(item: Block | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                filled.set()
        return False

    def work() -> None:
        try:
            for block in source:
                if not put(block):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the reader, who raises it
            put(error)
        finally:
            filled.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        until = time.monotonic() + 120.0
        while not (filled.wait(timeout=0.1) or stop() or time.monotonic() > until):
            pass
        while (item := ready.get(timeout=120.0)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()


@dataclass
class Sent:
    """Progress of a run: transactions and labels sent, the simulated clock (ms)."""

    produced: int = 0
    labels: int = 0
    clock_ms: int = 0


def simulate(
    bootstrap: str,
    redis_address: str | None,
    run: Run,
    *,
    tenants: Tenants = ANY_TENANT,
    look: Look = list,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[Sent, Measurement], None] = lambda _sent, _measurement: None,
    on_block: Callable[[Block], None] = lambda _block: None,
) -> dict[str, Any]:
    """Send a run and wait for its decisions; returns the summary of the design's command line.

    ``tenants``: for which of them payments count. ``look`` lists the stack's processes with their CPU time. ``watch`` is called about ten times a second.

    Raises:
        LedgerUnreachable, SendError, MeasurementError: the broker or the measuring process does not answer.
        ValueError: the run's kinds of drift or attack are unknown.
    """
    prefix = run.id_prefix or letters(secrets.randbelow(19**8), 8)
    world = create_world(run.seed, run.cards)
    start_ms, end_ms = run.span_ms(time.time_ns() // 1_000_000)
    depth = math.ceil(min(READY_ROWS, run.rate * READY_S) / BLOCK_ROWS)
    source = ahead(blocks(run, world, start_ms, prefix), depth, stop)
    sender, sent = Sender(bootstrap, "tollgate-simulate"), Sent(clock_ms=start_ms)
    block = next(source)  # waits until many blocks are ready, before the clock starts
    with Measurement(
        bootstrap, redis_address, id_prefix=prefix, tell_declined=run.sends_labels, tenants=tenants
    ) as measurement:
        before = look()
        try:
            _send_paced(run, sender, sent, block, source, measurement, stop, watch, on_block, end_ms)
            sender.finish()
        except BaseException:
            sender.abandon()
            raise
        finally:
            source.close()  # type: ignore[attr-defined]
        result = measurement.finish(sent.produced, run.wait_s)
        watch(sent, measurement)
        report = summary(sent.produced, result, cpu_us_per_transaction(before, look(), sent.produced))
        # without this option the summary's fields are fixed by the design
        return report if run.labels_after_s is None else {**report, "labels": sent.labels}


def _send_paced(
    run: Run, sender: Sender, sent: Sent, block: Block, source: Iterator[Block], measurement: Measurement,
    stop: Callable[[], bool], watch: Callable[[Sent, Measurement], None], on_block: Callable[[Block], None], end_ms: int,
) -> None:  # fmt: skip
    place, live = 0, run.scale == 0
    labels = _Labels(run, sender, sent, measurement, end_ms)
    watched = looked = time.monotonic()

    def begin_block() -> None:
        on_block(block)
        labels.begin(block.table)

    begin_block()

    def send(begin: int, end: int) -> None:
        nonlocal block, place, watched, looked
        moment = datetime.now(UTC)
        head = LIVE_HEAD + rfc3339(moment).encode() if live else b""
        while begin < end:
            if place == len(block.values):
                block, place = next(source), 0
                begin_block()
            rows = slice(place, min(place + end - begin, len(block.values)))
            sender.send_all(TRANSACTIONS, block.keys[rows], [head + value for value in block.values[rows]])
            labels.paid(rows, epoch_ms(moment))
            begin += rows.stop - place
            place = rows.stop
        sent.produced = end
        sent.clock_ms = int(block.event_ms[place - 1])
        now = time.monotonic()
        if now - looked > 0.05:
            looked = now
            labels.send_due(epoch_ms(moment) if live else sent.clock_ms)
        if now - watched > 0.1:
            watched = now
            measurement.check()
            watch(sent, measurement)

    pace(run.rate, run.total, send, stop)
    labels.send_due(time.time_ns() // 1_000_000 if live else sent.clock_ms)
    labels.send_last(stop)


class _Labels:
    """Sends the labels of a run as they become due and their transactions are decided."""

    def __init__(self, run: Run, sender: Sender, sent: Sent, measurement: Measurement, end_ms: int) -> None:
        self._run, self._sender, self._sent, self._measurement, self._end_ms = (
            run,
            sender,
            sent,
            measurement,
            end_ms,
        )
        self._due, self._aged, self._held = (
            DueLabels(),
            AgedLabels(run.labels_after_s or 0.0),
            LabelsOfDecided(),
        )

    def begin(self, table: pa.Table) -> None:
        """The rows of a block are sent next."""
        if self._run.sends_labels:
            ages = self._run.labels_after_s is not None
            self._held.expect(self._aged.add(table) if ages else self._due.add(table, self._end_ms))

    def paid(self, rows: slice, now_ms: int) -> None:
        """Rows of the block were sent at ``now_ms``."""
        if self._run.sends_labels and self._run.labels_after_s is not None:
            self._aged.sent(rows.start, rows.stop, now_ms)

    def send_due(self, clock_ms: int) -> None:
        """Send what is due at ``clock_ms`` and decided."""
        if self._run.sends_labels:
            due = self._aged if self._run.labels_after_s is not None else self._due
            self._send(due.until(clock_ms))

    def send_last(self, stop: Callable[[], bool]) -> None:
        """Send the due labels whose transactions were still being decided at the end; waits while there is progress."""
        decided, began = self._measurement.progress.decided, time.monotonic()
        changed = began
        while self._held.waiting and not stop():
            time.sleep(LAST_LABELS_S)
            self._measurement.check()
            self._send(None)
            now = time.monotonic()
            if self._measurement.progress.decided != decided:
                decided, changed = self._measurement.progress.decided, now
            if now - changed > LAST_LABELS_WITHIN_S or now - began > self._run.wait_s:
                return

    def _send(self, due: pa.Table | None) -> None:
        self._held.decided(self._measurement.take_declined())
        ready = self._held.release(due)
        if ready is not None:
            self._sender.send_all(LABELS, encode_keys(ready["card_id"]), encode_labels(ready))
            self._sent.labels += ready.num_rows
