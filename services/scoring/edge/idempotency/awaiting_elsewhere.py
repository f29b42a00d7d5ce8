"""Waits for decisions that another process is making for the same id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from services.scoring.decision.deadline import POLL_EVERY_S
from services.scoring.edge.entries import Entry
from services.scoring.edge.idempotency.claims import EdgeRecord
from services.scoring.edge.idempotency.in_flight import InFlight
from services.scoring.edge.idempotency.lookup import (
    Found,
    find_decisions,
    read_indexed,
    read_remembered,
    unreadable,
)
from services.scoring.edge.problems import Problem, internal, unavailable
from streams.contracts.invalid_event import UNREADABLE

logger = logging.getLogger(__name__)

#: maximum ids of one lookup, so that it does not delay other requests to the store
MAX_A_LOOK = 256


class AwaitingElsewhere:
    """Answers entries that this loop does not decide itself."""

    def __init__(self, open_ids: InFlight) -> None:
        self._open = open_ids
        self._waiting: list[Entry] = []
        self._poller: asyncio.Task[None] | None = None
        # the loop keeps only weak references to tasks
        self._reading: set[asyncio.Task[None]] = set()

    def wait(self, entry: Entry) -> None:
        """Another process is deciding this id: look it up every POLL_EVERY_S until there is a decision or the deadline passes."""
        self._waiting.append(entry)
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())

    def give_indexed(self, known: Sequence[tuple[Entry, bytes]]) -> None:
        """Answer ids that the stream has decided. ``known``: each with its entry of the ledger's index."""
        if known:
            self._read(self._give_indexed(known), [entry for entry, _ in known])

    def give_remembered(self, known: Sequence[tuple[Entry, EdgeRecord]]) -> None:
        """Answer ids that were decided in an earlier batch. ``known``: each with the record that points to its page."""
        if known:
            self._read(self._give_remembered(known), [entry for entry, _ in known])

    def _read(self, reading: Coroutine[Any, Any, None], entries: list[Entry]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(reading, entries))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _guarded(self, reading: Coroutine[Any, Any, None], entries: list[Entry]) -> None:
        try:
            await reading
        except Problem as problem:
            for entry in entries:
                self._open.give_up(entry, problem)
        except Exception:  # top of the task: callers get an answer, the log gets the traceback
            logger.exception("%d known ids could not be looked up", len(entries))
            for entry in entries:
                self._open.give_up(entry, internal())

    async def _give_indexed(self, known: Sequence[tuple[Entry, bytes]]) -> None:
        found = await read_indexed(self._open.store, [stored for _, stored in known])
        for (entry, _), indexed in zip(known, found, strict=True):
            try:
                if isinstance(indexed, Problem):
                    raise indexed
                if indexed is None:
                    raise unavailable("store", "this id was decided, but its decision has expired")
                entry.check_same_as_decided(indexed)
            except Problem as problem:
                self._open.give_up(entry, problem)
            except UNREADABLE as error:
                self._open.give_up(entry, unreadable(error))
            else:
                self._open.release(entry)
                self._open.succeed(entry, indexed.decision)

    async def _give_remembered(self, known: Sequence[tuple[Entry, EdgeRecord]]) -> None:
        places = [place for _, record in known if (place := record.place) is not None]
        found: list[Found] = await read_remembered(self._open.store, places)
        for (entry, _), decided in zip(known, found, strict=True):
            if decided is None:
                self.wait(entry)
            elif isinstance(decided, Problem):
                self._open.give_up(entry, decided)
            else:
                self._open.succeed(entry, decided.decision)

    async def _poll(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(POLL_EVERY_S)
                waiting, self._waiting = self._waiting, []
                for start in range(0, len(waiting), MAX_A_LOOK):
                    some = [entry for entry in waiting[start : start + MAX_A_LOOK] if not entry.settled]
                    await self._guarded(self._look(some), some)
        finally:
            self._poller = None

    async def _look(self, entries: list[Entry]) -> None:
        if not entries:
            return
        found = await find_decisions(self._open.store, [entry.identity for entry in entries])
        for entry, decided in zip(entries, found, strict=True):
            if decided is None:
                self._waiting.append(entry)
            elif isinstance(decided, Problem):
                self._open.fail(entry, decided)
            else:
                self._open.succeed(entry, decided)
