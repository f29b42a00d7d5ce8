"""Carries a rollout's plan out: counts, checks, and writes each change of its state to the audit and to `rollouts`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec
from confluent_kafka import KafkaException

from models.bundle.content import MODEL
from models.rollout.progress import Measured, Move, advance, loaded, not_loaded, share_of, state_of, step_of
from models.rollout.run import UNDER_WAY, Run
from services.rollout.confirmation import Loading
from services.rollout.ledger import Ledger, Statement
from services.rollout.run_metrics import tell
from services.rollout.watch import Watch
from streams.contracts.rollout import RolloutRecord
from streams.runtime.kafka.broker_loss import BrokersForgotten

logger = logging.getLogger(__name__)
#: how often checks are made: a broken guard is acted on within this time
LOOK_S = 1.0
#: replicas load a bundle within 30 s, one after the other; without an answer by then the rollout ends
LOAD_WITHIN_S = 90.0
SERVICE = "rollout"


class Counting(Protocol):
    """What follows a step: ``services.rollout.watch.Watch``."""

    @property
    def caught_up(self) -> bool: ...

    def read(self) -> None: ...

    def measured(self) -> Measured: ...

    def close(self) -> None: ...


class Runs:
    """The rollout under way, if there is one; its state is the newest record of the ledger and nothing else.

    Args:
        watch: begins to follow the current step of a run.
        ask_replicas: which replicas do not serve a sequence yet (``services.rollout.confirmation.loading``).
        settle: updates the states of versions on disk from the newest record.
        note: keeps the last look at a step, for people.
    """

    def __init__(
        self, ledger: Ledger, watch: Callable[[Run], Counting], ask_replicas: Callable[[int], Loading],
        settle: Callable[[datetime], None], note: Callable[[Run, Measured, datetime], None],
    ) -> None:  # fmt: skip
        self._ledger, self._new_watch, self._ask, self._settle, self._note = (
            ledger,
            watch,
            ask_replicas,
            settle,
            note,
        )
        self._watch: Counting | None = None
        self._watched = -1
        self._looked_s = float("-inf")
        #: of the step under way, at the last look
        self.measured = Measured()

    @property
    def under_way(self) -> Run | None:
        """The run of the newest record, if it has not ended."""
        record = self._ledger.newest.get(MODEL)
        return record.run if record is not None and record.state in UNDER_WAY else None

    def tick(self, now: datetime, now_s: float) -> None:
        """Count what is new; once a second, check and move. Call it often. ``now_s``: of a monotonic clock.

        Raises:
            DeliveryError: a change could not be written; start again.
        """
        run = self.under_way
        if run is not None and run.loaded:
            self._count(run)
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        record = self._ledger.newest.get(MODEL)
        if run is None or record is None:
            self._forget()
        elif not run.loaded:
            self._load(run, record, now)
        elif self._watch is not None and self._watch.caught_up:
            self.measured = self._watch.measured()
            move = advance(run, record.since, self.measured, now)
            if move is not None:
                self.move(move, _by_itself(move, record), now)
        tell(self._ledger.newest.get(MODEL), self.measured, now)
        if (still := self.under_way) is not None:
            self._note(still, self.measured, now)

    def move(self, move: Move, said: Statement, now: datetime) -> RolloutRecord:
        """Write a change of the run.

        Raises:
            DeliveryError: it was not acknowledged in time; start again.
        """
        before = self._ledger.newest[MODEL]
        record = after(before, move, said, now)
        self._ledger.write(record, said)
        self._settle(now)
        if (
            record.run is None
            or before.run is None
            or record.run.step_since != before.run.step_since
            or move.end
        ):
            self._forget()
        logger.info("%s: %s, step %d: %s", MODEL, record.state, move.run.step, move.why)
        return record

    def close(self) -> None:
        self._forget()

    def _load(self, run: Run, record: RolloutRecord, now: datetime) -> None:
        found = self._ask(record.sequence)
        if found.refused:
            why = f"{', '.join(found.refused)} refused the bundle of {run.challenger} (alert BundleRefused says why)"
            move = not_loaded(run, why)
        elif not found.waiting:
            move = loaded(run, now)
        elif (now - record.since).total_seconds() > LOAD_WITHIN_S:
            move = not_loaded(
                run, f"{', '.join(found.waiting)} did not load {run.challenger} within {LOAD_WITHIN_S:g} s"
            )
        else:
            return
        self.move(move, _by_itself(move, record), now)

    def _count(self, run: Run) -> None:
        try:
            if self._watch is None or self._watched != run.step:
                self._forget()
                self._watch, self._watched = self._new_watch(run), run.step
            self._watch.read()
        except (BrokersForgotten, KafkaException) as error:
            # what was counted is counted again by a new client
            logger.warning("the step is counted anew: %s", error)
            self._forget()

    def _forget(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch, self._watched, self.measured = None, -1, Measured()


def after(before: RolloutRecord, move: Move, said: Statement, now: datetime) -> RolloutRecord:
    """The record that follows from a move."""
    run = move.run
    common = msgspec.structs.replace(
        before, approved_by=said.by, signed_by=said.signed_by, why=said.why, since=now, sequence=before.sequence + 1,
        run=run, shadow=False, salt="",
    )  # fmt: skip
    if move.end == "done":
        return msgspec.structs.replace(
            common, champion=run.challenger, previous=run.champion, arms={"champion": run.challenger},
            traffic={"champion": 1.0}, state="done", reviewed=run.reviewed,
        )  # fmt: skip
    if move.end == "rolled_back":
        return msgspec.structs.replace(
            common, arms={"champion": run.champion}, traffic={"champion": 1.0}, state="rolled_back"
        )
    share = share_of(run)
    return msgspec.structs.replace(
        common, arms={"champion": run.champion, "challenger": run.challenger},
        traffic={"champion": round(1.0 - share, 9), "challenger": share}, state=state_of(run),
        shadow=run.loaded and step_of(run).kind == "shadow", salt=run.id,
    )  # fmt: skip


def _by_itself(move: Move, before: RolloutRecord) -> Statement:
    what = {"done": "rollout done", "rolled_back": "rollout rolled back"}.get(
        move.end or "", "rollout paused" if move.run.pause else "rollout step"
    )
    return Statement(
        action=what, model=MODEL, version=move.run.challenger, by=SERVICE, signed_by=SERVICE, role="service", why=move.why,
        request_id=f"{move.run.id}-{before.sequence + 1}",
    )  # fmt: skip


def watching(kafka: str) -> Callable[[Run], Counting]:
    """Follows steps on a broker."""
    return lambda run: Watch(kafka, run)
