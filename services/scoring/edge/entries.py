"""One transaction on its way through the HTTP edge: its content, the requests that wait for it, and its progress."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from hashlib import blake2b

import msgspec

from features.transaction import Transaction, epoch_ms
from models.decision import Decision
from services.scoring.edge.calls import Answer, Call
from services.scoring.edge.problems import conflict
from services.scoring.edge.publishing.record_sets import SentSet
from streams.contracts.text.json_encoding import encode_many
from streams.log.decision_index import IndexedDecision
from streams.log.records import decode_entities, digest_of

_decision_decoder = msgspec.json.Decoder(Decision)


class Entry(msgspec.Struct, eq=False):
    """One transaction in progress. Times in ms since 1970."""

    #: tenant and transaction id: ``features.identity``
    identity: str
    transaction: Transaction
    event_ms: int
    #: canonical JSON, and its digest
    body: bytes
    digest: bytes
    received_ms: float
    deadline_ms: int
    trace: str | None = None
    #: the request whose deadline applies, the index in it, and requests that joined later: (call, index)
    call: Call | None = None
    place: int = 0
    joined: list[tuple[Call, int]] | None = None
    settled: bool = False
    claimed: bool = False
    published: bool = False
    acknowledged: bool = False
    decision: Decision | None = None
    decision_json: bytes = b""
    header: bytes | None = None
    #: the set that it was published in
    sent: SentSet | None = None

    def settle(self, answer: Answer) -> None:
        """Answer all waiting requests, once."""
        if self.settled:
            return
        self.settled = True
        if self.call is not None:
            self.call.put(self.place, answer)
        joined, self.joined = self.joined, None
        for call, place in joined or ():
            call.put(place, answer)

    def check_same(self, digest: bytes) -> None:
        """Raises: Problem 409 when the id was claimed with different content."""
        if digest != self.digest:
            raise conflict(self.transaction)

    def check_same_as_decided(self, indexed: IndexedDecision) -> None:
        """Compare this transaction with the one that the stream decided under its id, as far as the index holds its fields.

        Raises:
            Problem: 409, they differ. msgspec.MsgspecError: the stored decision does not parse.
        """
        tx = self.transaction
        decided = _decision_decoder.decode(indexed.decision)
        same = (decided.card_id, epoch_ms(decided.event_time), decided.tenant) == (
            tx.card_id,
            self.event_ms,
            tx.tenant,
        )
        if indexed.entities:
            who = decode_entities(indexed.entities)
            same = same and (who.merchant_id, who.device_id, who.ip, who.customer_id) == (
                tx.merchant_id,
                tx.device_id,
                tx.ip,
                tx.customer_id,
            )
            same = same and who.digest in (None, digest_of(tx))
        if not same:
            raise conflict(self.transaction)


def entries_of(
    transactions: Sequence[Transaction],
    event_ms: Sequence[int],
    received_ms: float,
    deadline_ms: int,
    trace: str | None = None,
) -> list[Entry]:
    """Entries of transactions received together. ``event_ms``: their event times, since 1970."""
    moved = [_in_utc(tx) if tx.event_time.tzinfo is not UTC else tx for tx in transactions]
    return [
        Entry(
            tx.identity, tx, moment, body, blake2b(body, digest_size=16).digest(), received_ms, deadline_ms, trace
        )
        for tx, moment, body in zip(moved, event_ms, encode_many(moved), strict=True)
    ]  # fmt: skip


def _in_utc(tx: Transaction) -> Transaction:
    """The transaction with its event time in UTC, so that the time zone does not change the digest."""
    return msgspec.structs.replace(tx, event_time=tx.event_time.astimezone(UTC))
