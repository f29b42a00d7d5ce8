"""Samples the books twice a minute and says what it finds in metrics (``ReconciliationBroken``). Runs in a thread of the archive's process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from features.store.redis_client import RespClient, StoreUnavailable
from streams.audit.sampled_books import SampledBooks
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.log.decision_index import entries_in, lookups
from streams.log.topics import DEAD_LETTERS, DECISIONS, TRANSACTIONS
from streams.runtime.kafka.log_reader import LedgerUnreachable, Span, end_of, read_span
from streams.runtime.metrics import RECONCILED, RECONCILIATION_FAULTS, RECONCILIATION_OPEN

logger = logging.getLogger(__name__)

#: a transaction is looked at when it is at least as old: longer than any deadline, and than a worker's replacement takes
EVERY_S = 30.0
#: transactions of a look, per partition, the first after the look before: their decisions are the next ones on the log. More than one
#: second of thirty at 10,000 a second would cost as much as a stage
MOST = 5_000
#: decisions read at once, per partition; what follows the last one that is wanted is not read
STEP = 5_000
#: identities asked for at once
ASK = 500
_TOPICS = (DECISIONS.name, DEAD_LETTERS.name, TRANSACTIONS.name)


class Reconciler:
    """Looks at the log between the ends of two earlier looks, and for its outcomes up to now."""

    def __init__(
        self,
        bootstrap: str,
        redis_address: str,
        tenants: Tenants = ANY_TENANT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``tenants``: for which of them a transaction counts; ``clock``: seconds since 1970."""
        self._bootstrap = bootstrap
        self._client = RespClient(redis_address)
        self._clock = clock
        self._books = SampledBooks(tenants)
        #: where the topics ended at the last two looks, the older one first
        self._ends: list[Span] = []
        #: the dead letters read so far
        self._letters: Span = {}
        for kind in ("unknown", "duplicated"):
            # alerts compare with an earlier value
            RECONCILIATION_FAULTS.labels(kind).inc(0)

    def run(self) -> None:
        """Look for ever; a look that fails is logged, and the next one goes on."""
        while True:
            time.sleep(EVERY_S)
            try:
                self.look()
            except (LedgerUnreachable, StoreUnavailable) as error:
                logger.warning("the books were not looked at: %s", error)
            except Exception:  # top of the thread: the archive goes on, and the next look may succeed
                logger.exception("looking at the books failed")

    def look(self) -> None:
        """One look.

        Raises:
            LedgerUnreachable, StoreUnavailable: the broker or Redis does not answer.
        """
        # outcomes end first: no outcome is expected of a transaction that is not among these
        now = {topic: end_of(self._bootstrap, [topic])[topic] for topic in _TOPICS}
        if len(self._ends) == 2:
            before, until = self._ends
            self._look(before, until, now)
            self._ends.pop(0)
        else:
            self._letters = self._letters or {DEAD_LETTERS.name: now[DEAD_LETTERS.name]}
        self._ends.append(now)
        RECONCILIATION_OPEN.set(len(self._books.open))
        for kind, place in self._books.faults():
            RECONCILIATION_FAULTS.labels(kind).inc()
            logger.error("the books do not balance: %s is %s", place, kind)

    def _look(self, before: Span, until: Span, now: Span) -> None:
        starts = before[TRANSACTIONS.name]
        ends = {p: min(end, starts.get(p, 0) + MOST) for p, end in until[TRANSACTIONS.name].items()}
        sample: list[Any] = []
        read_span(self._bootstrap, {TRANSACTIONS.name: starts}, {TRANSACTIONS.name: ends}, sample.extend)
        self._books.begin_look(sample)
        known = set(self._books.open)
        # what was sampled was decided after the end of decisions at the same look
        sources = end_of(self._bootstrap, [TRANSACTIONS.name])[TRANSACTIONS.name]
        self._read_decisions(before[DECISIONS.name], now[DECISIONS.name], sources)
        read_span(
            self._bootstrap,
            self._letters,
            {DEAD_LETTERS.name: now[DEAD_LETTERS.name]},
            self._books.add_dead_letters,
        )
        self._letters = {DEAD_LETTERS.name: now[DEAD_LETTERS.name]}
        self._ask_index()
        RECONCILED.inc(len(known - set(self._books.open)))
        for place in list(self._books.open.values())[:3]:
            logger.error("the books do not balance: %s has no outcome", place)

    def _read_decisions(self, start: dict[int, int], end: dict[int, int], sources: dict[int, int]) -> None:
        at = {p: min(start.get(p, 0), last) for p, last in end.items()}
        while any(at[p] < end.get(p, 0) for p in at):
            upto = {p: min(at[p] + STEP, end.get(p, 0)) for p in at}
            read_span(
                self._bootstrap, {DECISIONS.name: at}, {DECISIONS.name: upto},
                lambda records: self._books.add_decisions(records, sources),
            )  # fmt: skip
            at = upto
            if not self._books.open:
                return

    def _ask_index(self) -> None:
        names = list(self._books.open)
        for begin in range(0, len(names), ASK):
            part, now_s = names[begin : begin + ASK], self._clock()
            replies: list[Any] = self._client.with_retry([lookups(part, now_s)])
            entries = entries_in(replies, now_s)
            self._books.decided_before(name for name, entry in zip(part, entries, strict=True) if entry)
