"""One request on its way through the HTTP edge, and what Redis remembers of it so that the same id is decided once."""

from __future__ import annotations

import asyncio
from datetime import UTC
from hashlib import blake2b

import msgspec

from features.online.resp import Command
from services.scoring.edge_problems import conflict
from streams.decision_index import IndexedDecision, entry_key
from streams.events import Decision, Transaction, encode, epoch_ms
from streams.records import decode_entities

#: the labels worker's index takes over within seconds and keeps decisions for 60 days
KEEP_S = 3600
#: an open claim outlives its request's deadline by this, so that a crashed edge blocks no id for long
OPEN_BEYOND_MS = 2000


class EdgeRecord(msgspec.Struct, array_like=True, frozen=True):
    """What Redis holds of an id. No ``decision``: being decided. ``header``: decided and sent, not yet acknowledged."""

    digest: bytes
    decision: bytes | None = None
    header: bytes | None = None


_record_decoder = msgspec.msgpack.Decoder(EdgeRecord)
_decision_decoder = msgspec.json.Decoder(Decision)
_pack = msgspec.msgpack.Encoder().encode


def edge_key(transaction_id: str) -> str:
    """Redis key of the edge's record of one id."""
    return f"tollgate:edge:{transaction_id}"


def decode_record(raw: bytes) -> EdgeRecord:
    """Raises: msgspec.DecodeError."""
    record: EdgeRecord = _record_decoder.decode(raw)
    return record


class Entry:
    """One transaction at work. Times in ms since 1970; ``future`` gives the decision's JSON or raises a Problem."""

    __slots__ = (
        "body", "claimed", "deadline_ms", "decision", "decision_json", "digest", "event_ms", "future", "header",
        "published", "received_ms", "trace", "transaction",
    )  # fmt: skip

    def __init__(
        self, transaction: Transaction, received_ms: float, deadline_ms: int, trace: str | None
    ) -> None:
        if transaction.event_time.tzinfo is not UTC:
            # the same moment in another zone is the same content
            transaction = msgspec.structs.replace(
                transaction, event_time=transaction.event_time.astimezone(UTC)
            )
        self.transaction = transaction
        self.body = encode(transaction)
        self.digest = blake2b(self.body, digest_size=16).digest()
        self.event_ms = epoch_ms(transaction.event_time)
        self.received_ms = received_ms
        self.deadline_ms = deadline_ms
        self.trace = trace
        self.future: asyncio.Future[bytes]
        self.decision: Decision | None = None
        self.decision_json = b""
        self.header: bytes | None = None
        self.claimed = False
        self.published = False

    @property
    def id(self) -> str:
        return self.transaction.transaction_id

    def decide(self, decision: Decision) -> None:
        self.decision = decision
        self.decision_json = encode(decision)

    def claim(self) -> list[Command]:
        """Take the id, and see what is known of it: two replies (``OK`` or None; record and index entry)."""
        key = edge_key(self.id)
        return [
            ("SET", key, _pack(EdgeRecord(self.digest)), "NX", "PX", self.deadline_ms + OPEN_BEYOND_MS),
            ("MGET", key, entry_key(self.id)),
        ]

    def unclaim(self) -> Command:
        return ("DEL", edge_key(self.id))

    def remember(self, *, acknowledged: bool) -> Command:
        """Keep the decision; one that is not acknowledged is kept to be sent again, not to be given."""
        record = EdgeRecord(self.digest, self.decision_json, None if acknowledged else self.header)
        return ("SET", edge_key(self.id), _pack(record), "EX", KEEP_S)

    def check_same(self, record: EdgeRecord) -> None:
        """Raises: Problem 409 when the id's record is of another content."""
        if record.digest != self.digest:
            raise conflict(self.id)

    def check_same_as_decided(self, indexed: IndexedDecision) -> None:
        """Hold this transaction against one that the stream decided; its amount is not in the index.

        Raises:
            Problem: 409, card, time, tenant, or an entity differs. msgspec.MsgspecError: what is stored is no decision.
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
        if not same:
            raise conflict(self.id)
