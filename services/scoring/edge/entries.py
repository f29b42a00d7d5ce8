"""One transaction on its way through the HTTP edge: what it says, who waits for it, and how far it has come."""

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
from streams.contracts.json_encoding import encode_many
from streams.log.decision_index import IndexedDecision
from streams.log.records import decode_entities, digest_of

_decision_decoder = msgspec.json.Decoder(Decision)


class Entry(msgspec.Struct, eq=False):
    """One transaction at work. Times in ms since 1970."""

    id: str
    transaction: Transaction
    event_ms: int
    #: canonical JSON, and what tells it from another's
    body: bytes
    digest: bytes
    received_ms: float
    deadline_ms: int
    trace: str | None = None
    #: the request whose deadline holds, its place there, and those that came while it was at work
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
    #: what it was published with
    sent: SentSet | None = None

    def settle(self, answer: Answer) -> None:
        """Answer everybody who waits, once."""
        if self.settled:
            return
        self.settled = True
        if self.call is not None:
            self.call.put(self.place, answer)
        joined, self.joined = self.joined, None
        for call, place in joined or ():
            call.put(place, answer)

    def check_same(self, digest: bytes) -> None:
        """Raises: Problem 409 when the id was claimed with another content."""
        if digest != self.digest:
            raise conflict(self.id)

    def check_same_as_decided(self, indexed: IndexedDecision) -> None:
        """Hold this transaction against one that the stream decided; where older code indexed it, its amount and the like are not known.

        Raises:
            Problem: 409, it is another one. msgspec.MsgspecError: what is stored is no decision.
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
            raise conflict(self.id)


def entries_of(
    transactions: Sequence[Transaction],
    event_ms: Sequence[int],
    received_ms: float,
    deadline_ms: int,
    trace: str | None = None,
) -> list[Entry]:
    """Entries of transactions that came together. ``event_ms``: their event times."""
    moved = [_in_utc(tx) if tx.event_time.tzinfo is not UTC else tx for tx in transactions]
    return [
        Entry(
            tx.transaction_id, tx, moment, body, blake2b(body, digest_size=16).digest(), received_ms, deadline_ms, trace
        )
        for tx, moment, body in zip(moved, event_ms, encode_many(moved), strict=True)
    ]  # fmt: skip


def _in_utc(tx: Transaction) -> Transaction:
    """The same moment in another zone is the same content."""
    return msgspec.structs.replace(tx, event_time=tx.event_time.astimezone(UTC))
