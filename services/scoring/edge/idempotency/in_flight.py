"""Ids that are being decided on this event loop. Results of one turn of the loop are written to Redis together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from features.store.redis_client import Command, StoreUnavailable
from services.scoring.edge.calls import Call
from services.scoring.edge.entries import Entry
from services.scoring.edge.idempotency.claims import unclaim
from services.scoring.edge.problems import Problem, conflict
from services.scoring.edge.protocols import Store

logger = logging.getLogger(__name__)

WARN_EVERY_S = 1.0


class InFlight:
    """Each id once: a request for an id in flight waits for the same answer."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970."""
        self.store = store
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._unposted: list[Command] = []
        self._warned_s = 0.0

    def enter(
        self, entries: Sequence[Entry], places: Sequence[int], call: Call
    ) -> tuple[list[Entry], list[Entry]]:
        """Register a request's entries; each is answered at its index in ``call`` (``places``).

        Returns:
            new entries, to be decided; entries that must be answered by the call's deadline.
        """
        new: list[Entry] = []
        timed: list[Entry] = []
        for entry, place in zip(entries, places, strict=True):
            known = self._entries.setdefault(entry.identity, entry)
            if known is entry:
                new.append(entry)
                timed.append(entry)
                entry.call, entry.place = call, place
            elif known.digest != entry.digest:
                call.put(place, conflict(entry.transaction))
            elif not known.settled:
                known.joined = [*(known.joined or ()), (call, place)]
            else:
                # its first caller was answered at the deadline, the broker may still acknowledge: wait again
                known.settled = False
                known.call, known.place = call, place
                known.received_ms, known.deadline_ms = entry.received_ms, entry.deadline_ms
                timed.append(known)
        return new, timed

    def succeed(self, entry: Entry, decision: bytes) -> None:
        self._forget(entry)
        entry.settle(decision)

    def fail(self, entry: Entry, problem: Problem, *, forget: bool = True) -> None:
        if forget:
            self._forget(entry)
        entry.settle(problem)

    def release(self, entry: Entry) -> None:
        """Delete the id's claim if this entry holds it."""
        if entry.claimed:
            entry.claimed = False
            self.post([unclaim(entry)])

    def give_up(self, entry: Entry, problem: Problem) -> None:
        """Fail the entry and release its claim, so that others may decide the id."""
        self.release(entry)
        self.fail(entry, problem)

    def post(self, commands: list[Command]) -> None:
        """Queue commands; all of one turn of the loop are sent in one write."""
        if not self._unposted:
            asyncio.get_running_loop().call_soon(self.send_posts)
        self._unposted += commands

    def send_posts(self) -> None:
        """Send queued commands now, so that later reads see their effect."""
        commands, self._unposted = self._unposted, []
        try:
            self.store.post(commands)
        except StoreUnavailable as error:
            self.warn(f"decisions cannot be stored by id, so duplicates may not be recognised: {error}")

    def warn(self, text: str) -> None:
        """Log a warning, at most one a second: there could be thousands."""
        now_s = self._clock()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning(text)

    def _forget(self, entry: Entry) -> None:
        if self._entries.get(entry.identity) is entry:
            del self._entries[entry.identity]
