"""Rounds: what arrives in one turn of the event loop is read, computed, decided and published together.

The decision travels inside the published transaction (decision 1), so that the card's processor applies it and the
scoring stream writes it to `decisions`; the caller gets it once the broker has acknowledged the transaction.
A round reads state and never writes it: two transactions of one card in one round do not see each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis
import msgspec
from prometheus_client import Counter

from features.codec import ProfileError
from features.online.gather import Gather, StoreRefused
from features.online.resp import Command, StoreUnavailable
from features.online.versions import ASK_WHOLE, is_whole
from services.scoring.deciding import Case, Decider
from services.scoring.edge_compute import Computed, compute
from services.scoring.edge_entries import Entry, decode_record
from services.scoring.edge_parts import Model, Store, find_decision, read_indexed
from services.scoring.edge_problems import Problem, conflict, unavailable
from services.scoring.edge_publish import Publishing, QueueFull
from streams.events import Decision
from streams.metrics import DECISION_LATENCY, DECISIONS, STAGE_SECONDS
from streams.records import HEADER_DECIDED
from streams.topics import TRANSACTIONS

logger = logging.getLogger(__name__)

#: transactions of one round at most: bounds how long one round holds the event loop
MAX_ROUND = 1000
#: share of the shortest time left that reading state may take, and its bounds, seconds
STORE_SHARE, STORE_LEAST_S, STORE_MOST_S = 0.4, 0.002, 0.04
POLL_EVERY_S = 0.005
#: rounds of so many rows are decided beside the event loop
ASIDE_FROM = 64
WARN_EVERY_S = 1.0


class Rounds:
    """Entries in, decisions out, for one event loop."""

    def __init__(self, model: Model, store: Store, publisher: Publishing, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970."""
        self._model = model
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._decider = Decider()
        self._open: dict[str, Entry] = {}
        self._waiting: list[Entry] = []
        self._drainer: asyncio.Task[None] | None = None
        self._warned_s = 0.0
        self._unposted: list[Command] = []
        self._aside: set[asyncio.Task[None]] = set()
        # looking a labelled counter up costs more than counting
        self._counters: dict[tuple[str, ...], Counter] = {}

    def submit(self, entries: Sequence[Entry], left_s: float) -> list[asyncio.Future[bytes] | Problem]:
        """Put entries to work together; each has a future of its decision's JSON (or of a Problem), or fails at once.

        An entry whose id is at work already joins that one. ``left_s``: the time left of their common deadline.
        Await the futures shielded: others may wait for the same.
        """
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[bytes] | Problem] = []
        timed: list[Entry] = []
        for entry in entries:
            known = self._open.get(entry.id)
            if known is None:
                self._open[entry.id] = known = entry
                entry.future = loop.create_future()
                self._waiting.append(entry)
                timed.append(entry)
            elif known.digest != entry.digest:
                answers.append(conflict(entry.id))
                continue
            elif known.future.done():
                # its first caller has given up, the broker has not: wait for it once more
                known.future = loop.create_future()
                known.received_ms, known.deadline_ms = entry.received_ms, entry.deadline_ms
                timed.append(known)
            answers.append(known.future)
        if timed:
            loop.call_later(max(0.0, left_s), self._expire, [(entry, entry.future) for entry in timed])
        if self._waiting and self._drainer is None:
            self._drainer = loop.create_task(self._drain())
        return answers

    def _expire(self, timed: list[tuple[Entry, asyncio.Future[bytes]]]) -> None:
        for entry, future in timed:
            if future.done():
                continue
            if entry.published:
                self._post([entry.remember(acknowledged=False)])
                text = "the broker has not acknowledged the transaction in time; send it again, its decision stands"
                self._fail(entry, unavailable("unacknowledged", text), forget=False)
            else:
                self._fail(
                    entry, unavailable("deadline", "the deadline passed before a decision was recorded")
                )

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_ROUND], self._waiting[MAX_ROUND:]
                try:
                    await self._round(batch)
                except Exception as error:  # noqa: BLE001 - the process edge: callers get an answer, the log the rest
                    self._broken(batch, error)
        finally:
            self._drainer = None

    def _broken(self, batch: list[Entry], error: Exception) -> None:
        logger.error("a round of %d transactions failed", len(batch), exc_info=error)
        for entry in batch:
            if not entry.published:
                self._fail(entry, Problem(500, "internal", type(error).__name__))

    async def _round(self, batch: list[Entry]) -> None:
        """Read, classify, compute, decide, publish; acknowledgements come later."""
        started = time.perf_counter()
        gather = Gather([entry.transaction for entry in batch])
        claims = [command for entry in batch for command in entry.claim()]
        marker: list[Command] = [ASK_WHOLE]
        # what was remembered before must be there when these ids are looked up
        self._send_posts()
        try:
            wanted = [*claims, *marker, *gather.commands()]
            replies = await self._store.call(wanted, self._store_share_s(batch))
            gather.load(replies[len(claims) + 1 :])
            whole = is_whole(replies[len(claims)])
        except (StoreUnavailable, StoreRefused, ProfileError) as error:
            self._warn(f"transactions are decided without state: {error}")
            chosen, stateless = list(range(len(batch))), True
        else:
            # what is stored while the state is being made, or while another version is at work, is not the whole of it
            chosen, stateless = self._fresh(batch, replies), not whole
        for i in chosen:
            if batch[i].future.done():
                self._release(batch[i])
        chosen = [i for i in chosen if not batch[i].future.done()]
        if chosen:
            self._decide(batch, chosen, gather, stateless=stateless)
        STAGE_SECONDS.labels("edge").observe(time.perf_counter() - started)

    def _store_share_s(self, batch: list[Entry]) -> float:
        now_ms = self._clock() * 1000
        left_ms = min(entry.deadline_ms - (now_ms - entry.received_ms) for entry in batch)
        return min(max(left_ms / 1000 * STORE_SHARE, STORE_LEAST_S), STORE_MOST_S)

    def _fresh(self, batch: list[Entry], replies: list[Any]) -> list[int]:
        """Which entries are to be decided now; the others are answered, refused or made to wait."""
        chosen = []
        for i, entry in enumerate(batch):
            claimed, known = replies[2 * i], replies[2 * i + 1]
            if isinstance(claimed, hiredis.ReplyError) or isinstance(known, hiredis.ReplyError):
                self._fail(entry, unavailable("store", f"the store refused: {claimed or known}"))
                continue
            entry.claimed = claimed is not None
            try:
                record = decode_record(known[0]) if known[0] and not entry.claimed else None
                if record is not None:
                    entry.check_same(record)
                if known[1]:
                    self._known(entry, known[1])
                elif record is None:
                    chosen.append(i)
                elif record.decision is None:
                    self._wait_for_other(entry)
                elif record.header is None:
                    self._succeed(entry, record.decision)
                else:
                    self._publish_again(entry, record.decision, record.header)
            except Problem as problem:
                self._release(entry)
                self._fail(entry, problem)
            except msgspec.MsgspecError as error:
                self._unreadable(entry, error)
        return chosen

    def _known(self, entry: Entry, indexed: bytes) -> None:
        """The stream has decided this id: its page of the ledger's index is read beside the round."""
        task = asyncio.get_running_loop().create_task(self._give_known(entry, indexed))
        entry.future.add_done_callback(lambda _, kept=task: kept.cancel())  # type: ignore[misc]

    async def _give_known(self, entry: Entry, stored: bytes) -> None:
        try:
            indexed = await read_indexed(self._store, entry.id, stored)
            if indexed is None:
                raise unavailable("store", "this id was decided, and its decision is not there any more")
            entry.check_same_as_decided(indexed)
        except Problem as problem:
            self._release(entry)
            self._fail(entry, problem)
        except msgspec.MsgspecError as error:
            self._unreadable(entry, error)
        else:
            self._release(entry)
            self._succeed(entry, indexed.decision)

    def _unreadable(self, entry: Entry, error: Exception) -> None:
        logger.error("the record of transaction %s does not parse: %s", entry.id, error)
        self._release(entry)
        self._fail(entry, Problem(500, "internal", "what is remembered of this id does not parse"))

    def _decide(self, batch: list[Entry], chosen: list[int], gather: Gather, *, stateless: bool) -> None:
        computed = compute(batch, gather, stateless=stateless)
        if computed.seen.any() and not stateless:
            chosen = self._without_seen(batch, chosen, computed.seen)
            if not chosen:
                return
        cases = [
            Case(
                batch[i].transaction,
                batch[i].event_ms,
                int(batch[i].received_ms),
                batch[i].deadline_ms,
                computed.missing[i],
            )
            for i in chosen
        ]
        decide = partial(
            self._decider.decide, cases, computed.rows[chosen], self._model.scorer, self._clock() * 1000
        )
        give = partial(self._give, batch, chosen, computed, stateless)
        if len(chosen) < ASIDE_FROM:
            give(decide())
            return
        # the explanations of a large round take tens of milliseconds: single requests do not wait for them
        task = asyncio.get_running_loop().create_task(self._decide_aside(batch, decide, give))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _decide_aside(
        self,
        batch: list[Entry],
        decide: Callable[[], list[Decision]],
        give: Callable[[list[Decision]], None],
    ) -> None:
        try:
            give(await asyncio.get_running_loop().run_in_executor(None, decide))
        except Exception as error:  # noqa: BLE001 - the process edge, as in _drain
            self._broken(batch, error)

    def _give(
        self,
        batch: list[Entry],
        chosen: list[int],
        computed: Computed,
        stateless: bool,
        decisions: list[Decision],
    ) -> None:
        for i, decision in zip(chosen, decisions, strict=True):
            entry = batch[i]
            if entry.future.done():
                self._release(entry)
                continue
            if stateless:
                # a second copy of the id cannot be recognised here; the card's ring still drops it later
                decision.degraded_by.append("idempotency")
            entry.decide(decision)
            entry.header = computed.header(i, entry.decision_json)
            self._publish(entry)

    def _without_seen(self, batch: list[Entry], chosen: list[int], seen: Any) -> list[int]:
        """Leave out what the card's ring holds already: the stream has it, and its decision is on the way."""
        for i in chosen:
            if seen[i]:
                self._release(batch[i])
                self._wait_for_other(batch[i])
        return [i for i in chosen if not seen[i]]

    def _publish_again(self, entry: Entry, decision: bytes, header: bytes) -> None:
        entry.decision_json, entry.header = decision, header
        self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        assert entry.header is not None
        headers = [(HEADER_DECIDED, entry.header)]
        if entry.trace:
            headers.append(("traceparent", entry.trace.encode()))

        def done(error: str | None) -> None:
            self._acknowledged(entry, error)

        try:
            self._publisher.publish(TRANSACTIONS.name, entry.transaction.card_id, entry.body, headers, done)
        except QueueFull as error:
            self._release(entry)
            self._fail(entry, unavailable("broker", f"transactions cannot be recorded now: {error}"))
            return
        entry.published = True

    def _acknowledged(self, entry: Entry, error: str | None) -> None:
        if error is not None:
            self._post([entry.remember(acknowledged=False)])
            self._fail(entry, unavailable("broker", f"the transaction was not recorded: {error}"))
            return
        self._post([entry.remember(acknowledged=True)])
        decision = entry.decision
        if decision is not None:
            counted = (decision.status, decision.decision, decision.arm, decision.model_version)
            if counted not in self._counters:
                self._counters[counted] = DECISIONS.labels(*counted)
            self._counters[counted].inc()
            DECISION_LATENCY.observe(max(0.0, self._clock() - entry.received_ms / 1000))
        self._succeed(entry, entry.decision_json)

    def _wait_for_other(self, entry: Entry) -> None:
        """Somebody else is deciding this id: look again and again until the deadline answers for us."""
        task = asyncio.get_running_loop().create_task(self._poll(entry))
        # the loop keeps only weak references to tasks; the entry's own future keeps this one
        entry.future.add_done_callback(lambda _, kept=task: kept.cancel())  # type: ignore[misc]

    async def _poll(self, entry: Entry) -> None:
        while not entry.future.done():
            await asyncio.sleep(POLL_EVERY_S)
            try:
                decision = await find_decision(self._store, entry.id)
            except Problem as problem:
                self._fail(entry, problem)
                return
            if decision is not None:
                self._succeed(entry, decision)

    def _succeed(self, entry: Entry, decision: bytes) -> None:
        self._forget(entry)
        if not entry.future.done():
            entry.future.set_result(decision)

    def _fail(self, entry: Entry, problem: Problem, *, forget: bool = True) -> None:
        if forget:
            self._forget(entry)
        if not entry.future.done():
            entry.future.set_exception(problem)
            # several may wait, or nobody any more: then nobody retrieves it, and that is in order
            entry.future.exception()

    def _forget(self, entry: Entry) -> None:
        if self._open.get(entry.id) is entry:
            del self._open[entry.id]

    def _release(self, entry: Entry) -> None:
        if entry.claimed:
            entry.claimed = False
            self._post([entry.unclaim()])

    def _post(self, commands: list[Command]) -> None:
        """Send commands with all others of this turn of the loop: one write, not one per acknowledgement."""
        if not self._unposted:
            asyncio.get_running_loop().call_soon(self._send_posts)
        self._unposted += commands

    def _send_posts(self) -> None:
        commands, self._unposted = self._unposted, []
        try:
            self._store.post(commands)
        except StoreUnavailable as error:
            self._warn(f"what was decided is not remembered by its id: {error}")

    def _warn(self, text: str) -> None:
        """Say what would be said thousands of times a second at most once."""
        now_s = self._clock()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning(text)
