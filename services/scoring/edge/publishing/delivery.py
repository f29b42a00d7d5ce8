"""Publishes decided transactions, waits for the broker's acknowledgement, then answers the callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from services.scoring.edge.entries import Entry
from services.scoring.edge.idempotency.claims import page_of, remember, remember_together
from services.scoring.edge.idempotency.in_flight import InFlight
from services.scoring.edge.problems import Problem, late, unacknowledged, unavailable
from services.scoring.edge.publishing.publisher import Publishing, QueueFull
from services.scoring.edge.publishing.record_sets import SentSet
from streams.log.records import HEADER_DECIDED
from streams.log.topics import TRANSACTIONS
from streams.log.trace import HEADER_TRACE
from streams.runtime.metrics import DECISION_LATENCY, DECISIONS, observe_many


class Delivery:
    """Answers callers once the broker has acknowledged their transactions."""

    def __init__(self, open_ids: InFlight, publisher: Publishing, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970."""
        self._open = open_ids
        self._publisher = publisher
        self._clock = clock

    def publish(self, entry: Entry) -> None:
        """Publish one decided entry, and answer it once it is acknowledged."""
        headers = [(HEADER_DECIDED, entry.header or b"")]
        if entry.trace:
            headers.append((HEADER_TRACE, entry.trace.encode()))
        try:
            self._publisher.publish(
                TRANSACTIONS.name,
                entry.transaction.card_id,
                entry.body,
                headers,
                partial(self._notified, entry),
            )
        except QueueFull as error:
            self._open.give_up(entry, _no_room(error))
            return
        entry.published = True

    def publish_together(self, entries: Sequence[Entry]) -> None:
        """Publish the entries of one request, and answer them together."""
        records = [
            (entry.transaction.card_id, entry.body, [(HEADER_DECIDED, entry.header or b"")]) for entry in entries
        ]  # fmt: skip
        sent = SentSet(len(entries), self._all_notified)
        sent.owner = (entries, page_of(entries))
        for entry in entries:
            entry.published, entry.sent = True, sent
        try:
            self._publisher.publish_set(TRANSACTIONS.name, records, sent)
        except QueueFull as error:
            for entry in entries:
                entry.published = False
                self._open.give_up(entry, _no_room(error))

    def expire(self, entries: Sequence[Entry]) -> None:
        """The deadline has passed: answer with 503 each entry that the broker has not acknowledged."""
        for sent in {id(entry.sent): entry.sent for entry in entries if entry.sent is not None}.values():
            if not sent.closed:
                self._close(sent)
        for entry in entries:
            if entry.settled:
                continue
            if entry.published:
                self._open.post([remember(entry, acknowledged=False)])
                self._open.fail(entry, unacknowledged(), forget=False)
            else:
                self._open.fail(entry, late())

    def _notified(self, entry: Entry, error: str | None) -> None:
        if error is not None:
            self._open.post([remember(entry, acknowledged=False)])
            self._open.fail(
                entry, unavailable("broker", f"the broker did not acknowledge the transaction: {error}")
            )
            return
        self._open.post([remember(entry, acknowledged=True)])
        self._answer([entry])

    def _all_notified(self, sent: SentSet) -> None:
        if not sent.closed:
            self._close(sent)
        for place, entry in enumerate(sent.owner[0]):
            if not entry.acknowledged:
                self._notified(entry, sent.errors.get(place))

    def _close(self, sent: SentSet) -> None:
        """Store the entries acknowledged so far as one page, and answer them."""
        entries, page = sent.owner
        sent.closed = True
        rows = [row for row, there in enumerate(sent.acknowledged) if there]
        if rows:
            self._open.post(remember_together(entries, rows, page))
            self._answer([entries[row] for row in rows])

    def _answer(self, entries: Sequence[Entry]) -> None:
        # a decision sent again (None here) was counted by the edge that made it
        made = [(entry, entry.decision) for entry in entries if entry.decision is not None]
        # looking up a labelled counter costs more than counting
        kinds = Counter([(d.status, d.decision, d.arm, d.model_version) for _, d in made])
        for kind, count in kinds.items():
            DECISIONS.labels(*kind).inc(count)
        now_s = self._clock()
        observe_many(DECISION_LATENCY, [max(0.0, now_s - entry.received_ms / 1000) for entry, _ in made])
        for entry in entries:
            entry.acknowledged = True
            self._open.succeed(entry, entry.decision_json)


def _no_room(error: QueueFull) -> Problem:
    return unavailable("broker", f"transactions cannot be published now: {error}")
