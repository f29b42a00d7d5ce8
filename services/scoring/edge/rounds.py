"""Rounds: what arrives in one turn of the event loop is read, computed, decided and published together.

The decision travels inside the published transaction (decision 1), so that the card's processor applies it and the
scoring stream writes it to `decisions`; the caller gets it once the broker has acknowledged the transaction.
A round reads state and never writes it: two transactions of one card in one round do not see each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import hiredis
import msgspec

from features.store.profile_batch import Gather
from features.store.redis_client import StoreUnavailable
from features.store.state_versions import ASK_WHOLE
from services.scoring.decision.deadline import AT_ONCE_MS, EDGE, EDGE_ALONE, left_ms, store_wait_s
from services.scoring.decision.decider import Decider
from services.scoring.decision.explanations import ExplanationCost
from services.scoring.edge.calls import Call
from services.scoring.edge.decide_round import Decided, Round, decide_round, finish_round, judge_round
from services.scoring.edge.entries import Entry
from services.scoring.edge.idempotency.awaiting_elsewhere import AwaitingElsewhere
from services.scoring.edge.idempotency.claims import (
    EdgeRecord,
    claim_replies,
    claims,
    decode_record,
    what_is_known,
)
from services.scoring.edge.idempotency.in_flight import InFlight
from services.scoring.edge.idempotency.lookup import unreadable
from services.scoring.edge.problems import Problem, internal, unavailable
from services.scoring.edge.protocols import Model, Store, StoreLate
from services.scoring.edge.publishing.delivery import Delivery
from services.scoring.edge.publishing.publisher import Publishing
from streams.runtime.metrics import STAGE_SECONDS

logger = logging.getLogger(__name__)

#: transactions of one round at most: bounds how long one round holds the event loop
MAX_ROUND = 1000
#: rounds of so many rows are read and decided beside the others
ASIDE_FROM = 64


class Rounds:
    """Entries in, decisions out, for one event loop."""

    def __init__(
        self,
        model: Model,
        store: Store,
        publisher: Publishing,
        clock: Callable[[], float],
        partitions: int,
        bulk: Store | None = None,
    ) -> None:
        """``clock`` gives seconds since 1970; ``partitions``: of the topics by which state is kept; ``bulk``: another way to the
        same store, for large reads.
        """
        self._partitions = partitions
        self._model = model
        self._store = store
        self._bulk = bulk or store
        self._clock = clock
        self._decider = Decider(clock=clock, cost=ExplanationCost(share=EDGE))
        self._aside_decider = Decider(
            clock=clock, cost=ExplanationCost(share=EDGE_ALONE), failures=self._decider.failures
        )
        self._open = InFlight(store, clock)
        self._others = AwaitingElsewhere(self._open)
        self._giving = Delivery(self._open, publisher, clock)
        self._waiting: list[Entry] = []
        self._drainer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, entries: Sequence[Entry], places: Sequence[int], call: Call, left_s: float) -> None:
        """Put a request's entries to work: each is answered at its place of ``call``, or fails at once.

        An entry whose id is at work already joins that one. ``left_s``: the time left of their common deadline.
        """
        loop = asyncio.get_running_loop()
        new, timed = self._open.enter(entries, places, call)
        if timed:
            call.timer = loop.call_later(max(0.0, left_s), self._expire, call, timed)
        if len(new) >= ASIDE_FROM:
            # single requests do not wait behind it, and it has rows enough of its own
            self._beside(self._guarded(new, self._round(new, together=True)))
            return
        self._waiting += new
        if self._waiting and self._drainer is None:
            self._drainer = loop.create_task(self._drain())

    def _expire(self, call: Call, timed: list[Entry]) -> None:
        self._giving.expire([entry for entry in timed if entry.call is call])

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_ROUND], self._waiting[MAX_ROUND:]
                await self._guarded(batch, self._round(batch, together=False))
        finally:
            self._drainer = None

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, batch: Sequence[Entry], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # the process edge: callers get an answer, the log the rest
            logger.exception("a round of %d transactions failed", len(batch))
            for entry in batch:
                if not entry.published:
                    self._open.fail(entry, internal())

    async def _round(self, batch: list[Entry], *, together: bool) -> None:
        """Read, classify, compute, decide, publish; acknowledgements come later. ``together``: it is one request's."""
        started = time.perf_counter()
        gather = Gather([entry.transaction for entry in batch])
        known, state = await self._read(batch, gather)
        chosen = self._fresh(batch, known) if known is not None else range(len(batch))
        for i in chosen:
            if batch[i].settled:
                self._open.release(batch[i])
        chosen = [i for i in chosen if not batch[i].settled]
        if chosen:
            await self._decide(Round(batch, chosen, gather, state, known is not None), together=together)
        STAGE_SECONDS.labels("edge").observe(time.perf_counter() - started)

    async def _decide(self, work: Round, *, together: bool) -> None:
        """Decide and publish: a small round now, a large one or one whose reasons take long beside the loop."""
        scorer = self._model.scorer
        if len(work.entries) >= ASIDE_FROM:
            decide = partial(decide_round, work, self._aside_decider, scorer)
            if together:
                await self._decide_aside(decide, together=True)
                return
        else:
            pending = judge_round(work, self._decider, scorer)
            decide = partial(finish_round, pending, self._decider)
            if pending.judged is None or self._decider.explanation_ms(pending.judged) <= AT_ONCE_MS:
                self._give(decide(), together=False)
                return
        # the next round of single requests does not wait for this one's explanations
        self._beside(self._guarded(work.entries, self._decide_aside(decide, together=False)))

    async def _decide_aside(self, decide: Callable[[], Decided], *, together: bool) -> None:
        decided = await asyncio.get_running_loop().run_in_executor(None, decide)
        self._give(decided, together=together)

    async def _read(self, batch: list[Entry], gather: Gather) -> tuple[Sequence[Any] | None, Sequence[Any]]:
        """Replies to the round's claims, None unless all are there; and those to the question for its state and the reads of it that are."""
        # what was remembered before must be there when these ids are looked up
        self._open.send_posts()
        claiming, reading = claims(batch, self._clock()), [ASK_WHOLE, *gather.commands(self._partitions)]
        share_s, ends = self._store_share_s(batch), claim_replies(len(batch))
        if len(batch) < ASIDE_FROM:
            replies = await self._call(self._store, [*claiming, *reading], share_s)
            known, state = replies[:ends], replies[ends:]
        else:
            # a claim is short, and its order counts; a large read would hold up whatever comes behind it
            known, state = await asyncio.gather(
                self._call(self._store, claiming, share_s), self._call(self._bulk, reading, share_s)
            )
        # some claims without what is known of their ids say nothing; some profiles are better than none
        return known if len(known) == ends else None, state

    async def _call(self, store: Store, commands: Sequence[Any], share_s: float) -> Sequence[Any]:
        """The replies that come in time: all, the first ones, or none."""
        try:
            return await store.call(commands, share_s)
        except StoreLate as late:
            self._open.warn(f"transactions are decided with what came of their state in time: {late}")
            return late.replies
        except StoreUnavailable as error:
            self._open.warn(f"transactions are decided without state: {error}")
            return ()

    def _store_share_s(self, batch: list[Entry]) -> float:
        now_ms = self._clock() * 1000
        left = min(left_ms(entry.deadline_ms, entry.received_ms, now_ms) for entry in batch)
        return store_wait_s(left, len(batch))

    def _fresh(self, batch: list[Entry], replies: Sequence[Any]) -> list[int]:
        """Which entries are to be decided now; the others are answered, refused or made to wait."""
        chosen: list[int] = []
        indexed: list[tuple[Entry, bytes]] = []
        remembered: list[tuple[Entry, EdgeRecord]] = []
        try:
            known = what_is_known(replies, self._clock())
        except StoreUnavailable as error:
            for entry in batch:
                self._open.fail(entry, unavailable("store", str(error)))
            return []
        for i, entry in enumerate(batch):
            claimed, stored = known.claimed[i], known.entries[i]
            if isinstance(claimed, hiredis.ReplyError):
                self._open.fail(entry, unavailable("store", f"the store refused: {claimed}"))
                continue
            entry.claimed = claimed is not None
            if entry.claimed and stored is None:
                chosen.append(i)
                continue
            try:
                record = decode_record(raw) if (raw := known.records[i]) and not entry.claimed else None
                if record is not None:
                    entry.check_same(record.digest)
                if stored is not None:
                    indexed.append((entry, stored))
                elif record is None:
                    chosen.append(i)
                elif record.page is not None:
                    remembered.append((entry, record))
                else:
                    self._repeat(entry, record)
            except Problem as problem:
                self._open.give_up(entry, problem)
            except msgspec.MsgspecError as error:
                self._open.give_up(entry, unreadable(error))
        self._others.give_indexed(indexed)
        self._others.give_remembered(remembered)
        return chosen

    def _repeat(self, entry: Entry, record: EdgeRecord) -> None:
        """An id whose own record says how far it came before."""
        if record.decision is None:
            self._others.wait(entry)
        elif record.header is None:
            self._open.succeed(entry, record.decision)
        else:
            entry.decision_json, entry.header = record.decision, record.header
            self._giving.publish(entry)

    def _give(self, decided: Decided, *, together: bool) -> None:
        if decided.trouble is not None:
            self._open.warn(f"transactions are decided without state: {decided.trouble}")
        for entry in decided.seen:
            # the card's ring holds it: the stream has it, and its decision is on the way
            self._open.release(entry)
            self._others.wait(entry)
        for entry in decided.entries:
            if entry.settled:
                self._open.release(entry)
        entries = [entry for entry in decided.entries if not entry.settled]
        if together and entries:
            self._giving.publish_together(entries)
            return
        for entry in entries:
            self._giving.publish(entry)
