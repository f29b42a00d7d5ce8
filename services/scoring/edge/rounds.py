"""Rounds: transactions that arrive in one turn of the event loop are read, computed, decided and published together.

The published transaction carries its decision (decision 1): the processor updates state with the transaction, and the scoring
stream writes the decision to `decisions`. The caller gets the decision once the broker has acknowledged the transaction.
A round reads state and never writes it, so the features of two transactions of one card in one round ignore each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import hiredis

from features.store.profiles.batch import Gather
from features.store.redis_client import StoreUnavailable
from features.store.state_versions import ASK_WHOLE
from models.policy.exploration import Explorer
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
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
from services.scoring.edge.problems import Problem, internal, late, store_failed
from services.scoring.edge.protocols import Model, Store, StoreLate
from services.scoring.edge.publishing.delivery import Delivery
from services.scoring.edge.publishing.publisher import Publishing
from streams.contracts.invalid_event import UNREADABLE
from streams.log.seal import Keys
from streams.runtime.metrics import STAGE_SECONDS

logger = logging.getLogger(__name__)

#: maximum transactions of one round, to bound how long it blocks the event loop
MAX_ROUND = 1000
#: rounds of at least this many rows use the second connection and are decided in a thread
ASIDE_FROM = 64


class Rounds:
    """Decides and publishes entries for one event loop."""

    def __init__(
        self,
        model: Model,
        store: Store,
        publisher: Publishing,
        clock: Callable[[], float],
        partitions: int,
        keys: Keys,
        bulk: Store | None = None,
        shadow: Shadow | None = None,
        explorer: Explorer | None = None,
    ) -> None:
        """``clock`` gives seconds since 1970; ``partitions``: number of partitions by which state is stored; ``keys``: the newest
        one seals decisions; ``bulk``: a second connection to the store, for large reads; ``shadow``: scores with the
        challenger beside the champion; ``explorer``: draws for payments that a score declines.
        """
        self._partitions = partitions
        self._keys = keys
        self._model = model
        self._store = store
        self._bulk = bulk or store
        self._clock = clock
        one = Decider(clock=clock, cost=ExplanationCost(share=EDGE), explorer=explorer)
        aside = Decider(
            clock=clock, cost=ExplanationCost(share=EDGE_ALONE), failures=one.failures, explorer=explorer
        )
        self._decider, self._aside_decider = ArmsDecider(one, shadow), ArmsDecider(aside, shadow)
        self._open = InFlight(store, clock)
        self._others = AwaitingElsewhere(self._open)
        self._delivery = Delivery(self._open, publisher, clock)
        self._waiting: list[Entry] = []
        self._drainer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, entries: Sequence[Entry], places: Sequence[int], call: Call, left_s: float) -> None:
        """Start a request's entries; each is answered at its index in ``call`` (``places``).

        An entry whose id is in flight already waits for that one's answer. ``left_s``: time left of the request's deadline.
        """
        loop = asyncio.get_running_loop()
        new, timed = self._open.enter(entries, places, call)
        if call.waits:
            call.timer = loop.call_later(max(0.0, left_s), self._expire, call, timed)
        if len(new) >= ASIDE_FROM:
            # a round of its own: it is large enough, and single requests must not wait behind it
            self._beside(self._guarded(new, self._round(new, together=True)))
            return
        self._waiting += new
        if self._waiting and self._drainer is None:
            self._drainer = loop.create_task(self._drain())

    def _expire(self, call: Call, timed: list[Entry]) -> None:
        """Answer at the deadline. Every request comes here: nothing that fails elsewhere can leave one waiting."""
        try:
            self._delivery.expire([entry for entry in timed if entry.call is call])
        finally:
            # an entry that another request began has that one's deadline
            call.expire(late())

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
        except Exception:  # top of the task: callers get an answer, the log gets the traceback
            logger.exception("a round of %d transactions failed", len(batch))
            for entry in batch:
                if not entry.published:
                    self._open.give_up(entry, internal())

    async def _round(self, batch: list[Entry], *, together: bool) -> None:
        """Read, classify, compute, decide, publish; acknowledgements arrive later. ``together``: all entries are of one request."""
        started = time.perf_counter()
        gather = Gather([entry.transaction for entry in batch])
        known, state = await self._read(batch, gather)
        chosen, claimed = self._to_decide(batch, known) if known is not None else (range(len(batch)), False)
        for i in chosen:
            if batch[i].settled:
                self._open.release(batch[i])
        chosen = [i for i in chosen if not batch[i].settled]
        if chosen:
            await self._decide(Round(batch, chosen, gather, state, claimed), together=together)
        STAGE_SECONDS.labels("edge").observe(time.perf_counter() - started)

    async def _decide(self, work: Round, *, together: bool) -> None:
        """Decide and publish: a small round on the event loop, a large one or one with slow explanations in a thread."""
        serving, key = self._model.serving, self._keys.newest()
        if len(work.entries) >= ASIDE_FROM:
            decide = partial(decide_round, work, self._aside_decider, serving, key)
            if together:
                await self._decide_aside(decide, together=True)
                return
        else:
            pending = judge_round(work, self._decider, serving)
            decide = partial(finish_round, pending, self._decider, key)
            if pending.judged is None or self._decider.explanation_ms(pending.judged) <= AT_ONCE_MS:
                self._give(decide(), together=False)
                return
        # in a thread: the next round of single requests must not wait for these explanations
        self._beside(self._guarded(work.entries, self._decide_aside(decide, together=False)))

    async def _decide_aside(self, decide: Callable[[], Decided], *, together: bool) -> None:
        decided = await asyncio.get_running_loop().run_in_executor(None, decide)
        self._give(decided, together=together)

    async def _read(self, batch: list[Entry], gather: Gather) -> tuple[Sequence[Any] | None, Sequence[Any]]:
        """Claim the round's ids and read its state.

        Returns:
            the replies to the claims, None unless all arrived; those replies to ASK_WHOLE and the reads of state that arrived.
        """
        # earlier decisions must be in Redis before these ids are looked up
        self._open.send_posts()
        claiming, reading = claims(batch, self._clock()), [ASK_WHOLE, *gather.commands(self._partitions)]
        share_s, ends = self._store_share_s(batch), claim_replies(len(batch))
        if len(batch) < ASIDE_FROM:
            replies = await self._call(self._store, [*claiming, *reading], share_s)
            known, state = replies[:ends], replies[ends:]
        else:
            # claims are short and must stay in order; a large read on the same connection would delay those behind it
            known, state = await asyncio.gather(
                self._call(self._store, claiming, share_s), self._call(self._bulk, reading, share_s)
            )
        # claims are of use only with the lookups behind them; some profiles are better than none
        return known if len(known) == ends else None, state

    async def _call(self, store: Store, commands: Sequence[Any], share_s: float) -> Sequence[Any]:
        """The replies that arrive in time: all, the first ones, or none."""
        try:
            return await store.call(commands, share_s)
        except StoreLate as late:
            self._open.warn(f"transactions are decided with only part of their state: {late}")
            return late.replies
        except StoreUnavailable as error:
            self._open.warn(f"transactions are decided without state: {error}")
            return ()

    def _store_share_s(self, batch: list[Entry]) -> float:
        now_ms = self._clock() * 1000
        left = min(left_ms(entry.deadline_ms, entry.received_ms, now_ms) for entry in batch)
        return store_wait_s(left, len(batch))

    def _to_decide(self, batch: list[Entry], replies: Sequence[Any]) -> tuple[list[int], bool]:
        """Indexes of the entries to decide now, and whether all of them are claimed.

        The others are answered, refused or wait for another process. A full Redis refuses claims but can be read: an id that was
        decided before keeps its decision, a new one is decided unclaimed.
        """
        chosen: list[int] = []
        indexed: list[tuple[Entry, bytes]] = []
        remembered: list[tuple[Entry, EdgeRecord]] = []
        try:
            known = what_is_known(replies, self._clock())
        except StoreUnavailable as error:
            for entry in batch:
                self._open.fail(entry, store_failed(error))
            return [], False
        refused = next((claim for claim in known.claimed if isinstance(claim, hiredis.ReplyError)), None)
        if refused is not None:
            self._open.warn(
                f"transactions are decided without a claim on their ids: Redis refused it: {refused}"
            )
        for i, entry in enumerate(batch):
            claimed, stored = known.claimed[i], known.entries[i]
            entry.claimed = claimed is not None and not isinstance(claimed, hiredis.ReplyError)
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
            except UNREADABLE as error:
                self._open.give_up(entry, unreadable(error))
        self._others.give_indexed(indexed)
        self._others.give_remembered(remembered)
        return chosen, refused is None

    def _repeat(self, entry: Entry, record: EdgeRecord) -> None:
        """Handle an id that came before, by the edge's record of it: wait, answer, or publish it again."""
        if record.decision is None:
            self._others.wait(entry)
        elif record.header is None:
            self._open.succeed(entry, record.decision)
        else:
            entry.decision_json, entry.header = record.decision, record.header
            self._delivery.publish(entry)

    def _give(self, decided: Decided, *, together: bool) -> None:
        if decided.trouble is not None:
            self._open.warn(f"transactions are decided without state: {decided.trouble}")
        for entry in decided.seen:
            # the card's recent payments hold it already: it was published before, and its decision will follow
            self._open.release(entry)
            self._others.wait(entry)
        for entry in decided.entries:
            if entry.settled:
                self._open.release(entry)
        entries = [entry for entry in decided.entries if not entry.settled]
        if together and entries:
            self._delivery.publish_together(entries)
            return
        for entry in entries:
            self._delivery.publish(entry)
