"""``tollgate reconcile --repair``: gives every transaction one outcome again, and says on `books` who did so and why.

A transaction that has none gets a dead letter, from which a person can send it again. A decision too many, or of no transaction, stays on
the log and is struck from the books.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from features.store.redis_client import RespClient
from features.transaction import from_ms, rfc3339
from streams.audit.balance import Accounts
from streams.contracts.invalid_event import InvalidEvent
from streams.log.books import BookEntry, encode_entry
from streams.log.decision_index import entries_in, lookups
from streams.log.topics import BOOKS, TRANSACTIONS
from streams.runtime.dead_letters import Consumed, consumed, dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.kafka.log_reader import Span, read_span
from streams.runtime.settings import Settings

#: what is younger may still be on its way
MIN_AGE_MS = 60_000
#: places in one entry of `books`, which must stay below Kafka's limit of 1 MB
AT_ONCE = 10_000
#: identities asked for at once
ASK = 500
ACKNOWLEDGE_WITHIN_S = 60.0


class Repaired(NamedTuple):
    """How many transactions got a dead letter, were decided although the log no longer says so, and are too young to be touched; and
    how many decisions were struck."""

    closed: int
    settled: int
    too_young: int
    struck: int


def repair(settings: Settings, accounts: Accounts, span: tuple[Span, Span], by: str, why: str) -> Repaired:
    """Repair what ``accounts`` found; ``span``: first and end offsets that it has read.

    Raises:
        LedgerUnreachable, DeliveryError, StoreUnavailable: broker or Redis does not answer; run it again, nothing is done twice.
    """
    now_ms = int(time.time() * 1000)
    records, too_young = _without_outcome(settings.kafka, accounts, span, now_ms)
    settled, closed = _by_index(RespClient(settings.redis_address), accounts, records)
    surplus = accounts.surplus()
    producer = new_producer(settings.kafka, "tollgate-books")
    for record in closed:
        text = f"it had neither decision nor dead letter; closed by {by}: {why}. Send it again to have it decided"
        send_dead_letter(producer, dead_letter(record, InvalidEvent("unaccounted", "", text), now_ms))
    flush(producer, ACKNOWLEDGE_WITHIN_S)
    at = rfc3339(from_ms(now_ms))
    for first in range(0, max(len(closed), len(settled), len(surplus)), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        entry = BookEntry(
            at=at,
            by=by,
            why=why,
            struck=surplus[part],
            closed=_places(closed[part]),
            settled=_places(settled[part]),
        )
        producer.produce(BOOKS.name, encode_entry(entry))
    flush(producer, ACKNOWLEDGE_WITHIN_S)
    producer.close()
    return Repaired(len(closed), len(settled), too_young, len(surplus))


def _places(records: Sequence[Consumed]) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in records]


def _by_index(
    client: RespClient, accounts: Accounts, records: Sequence[Consumed]
) -> tuple[list[Consumed], list[Consumed]]:
    """(records whose transaction the decision index knows, all others)."""
    known: list[Consumed] = []
    unknown: list[Consumed] = []
    for first in range(0, len(records), ASK):
        part, now_s = records[first : first + ASK], time.time()
        names = [accounts.identity(record.value) or "" for record in part]
        entries = entries_in(client.with_retry([lookups(names, now_s)]), now_s)
        for record, entry in zip(part, entries, strict=True):
            (unknown if entry is None else known).append(record)
    return known, unknown


def _without_outcome(
    bootstrap: str, accounts: Accounts, span: tuple[Span, Span], now_ms: int
) -> tuple[list[Consumed], int]:
    """The records of transactions in flight, all copies of each, and how many are too young."""
    open_ = set(accounts.undecided().tolist())
    found: list[Consumed] = []
    young = 0

    def take(records: list[Any]) -> None:
        nonlocal young
        for record in records:
            if accounts.name_of(record) not in open_ or accounts.is_refused(record):
                continue
            if record.timestamp()[1] > now_ms - MIN_AGE_MS:
                young += 1
                continue
            found.append(consumed(record))

    if open_:
        first, end = ({TRANSACTIONS.name: bound[TRANSACTIONS.name]} for bound in span)
        read_span(bootstrap, first, end, take)
    return found, young
