"""What Redis remembers of an id, so that it is decided once: a claim while it is at work, then its decision or where that is."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
import msgspec

from features.store.redis_client import Command, Packed, StoreUnavailable, pack_sets
from services.scoring.edge.entries import Entry
from streams.log.decision_index import (
    WINDOWS,
    IndexedDecision,
    Place,
    encode_page,
    entries_in,
    lookups,
)

#: the labels worker's index takes over within seconds and keeps decisions for 60 days
KEEP_S = 3600
#: a page outlives the records that name it
KEEP_PAGE_S = KEEP_S + 60
#: an open claim outlives its request's deadline by this, so that a crashed edge blocks no id for long
OPEN_BEYOND_MS = 2000
_CLAIM = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nNX\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"


class EdgeRecord(msgspec.Struct, array_like=True, frozen=True):
    """What Redis holds of an id. Nothing but the digest: being decided. ``header``: decided and sent, not yet acknowledged.

    ``page`` and ``row`` in place of the decision: it stands there, with those of the batch that it came in.
    """

    digest: bytes
    decision: bytes | None = None
    header: bytes | None = None
    page: str | None = None
    row: int = 0

    @property
    def place(self) -> Place | None:
        """Where the decision stands, when it is not in the record itself."""
        return None if self.page is None else Place(self.page, self.row)


_record_decoder = msgspec.msgpack.Decoder(EdgeRecord)
_pack = msgspec.msgpack.Encoder().encode


def edge_key(transaction_id: str) -> str:
    """Redis key of the edge's record of one id."""
    return f"tollgate:edge:{transaction_id}"


def edge_page_key(page: str) -> str:
    """Redis key of the decisions of one batch; no id can be mistaken for it."""
    return f"tollgate:edge-page:{page}"


def decode_record(raw: bytes) -> EdgeRecord:
    """Raises: msgspec.DecodeError."""
    record: EdgeRecord = _record_decoder.decode(raw)
    return record


def claims(entries: Sequence[Entry], now_s: float) -> list[Command]:
    """Take n ids, and see what is known of them; ``what_is_known`` reads the replies."""
    keys = [edge_key(entry.id) for entry in entries]
    out = []
    for entry, key in zip(entries, keys, strict=True):
        name, value = key.encode(), _pack((entry.digest,))
        until = b"%d" % (entry.deadline_ms + OPEN_BEYOND_MS)
        out.append(_CLAIM % (len(name), name, len(value), value, len(until), until))
    ids = [entry.id for entry in entries]
    return [Packed(b"".join(out), len(out)), ("MGET", *keys), lookups(ids, now_s)]


class Known(NamedTuple):
    """What is known of n ids: replies to their claims (None: another has it), their records, their entries of the ledger's index."""

    claimed: Sequence[Any]
    records: Sequence[bytes | None]
    entries: Sequence[bytes | None]


def claim_replies(n: int) -> int:
    """How many replies ``claims`` of n ids have."""
    return n + 1 + WINDOWS * n


def what_is_known(replies: Sequence[Any], now_s: float) -> Known:
    """Replies to ``claims``.

    Raises:
        StoreUnavailable: the store does not say what is known. A claim that it refused is an error among those claimed.
    """
    n = (len(replies) - 1) // (1 + WINDOWS)
    looked = replies[n]
    if isinstance(looked, hiredis.ReplyError):
        raise StoreUnavailable(f"the store refused: {looked}")
    return Known(replies[:n], looked, entries_in(replies[n + 1 :], now_s))


def unclaim(entry: Entry) -> Command:
    """Give an id back, undecided."""
    return ("DEL", edge_key(entry.id))


def remember(entry: Entry, *, acknowledged: bool) -> Command:
    """Keep a decision; one that is not acknowledged is kept to be sent again, not to be given."""
    record = EdgeRecord(entry.digest, entry.decision_json, None if acknowledged else entry.header)
    return ("SET", edge_key(entry.id), _pack(record), "EX", KEEP_S)


def page_of(entries: Sequence[Entry]) -> bytes:
    """The decisions of a batch, compressed together to a tenth and less."""
    return encode_page([IndexedDecision(entry.decision_json, None) for entry in entries])


def remember_together(entries: Sequence[Entry], rows: Sequence[int], page: bytes) -> list[Command]:
    """Keep the decisions of a batch that are acknowledged: its page, then a record for each that says where.

    Args:
        rows: of ``entries`` and of the page alike.
    """
    name = secrets.token_hex(8)
    records = [
        (edge_key(entries[row].id).encode(), _pack((entries[row].digest, None, None, name, row)))
        for row in rows
    ]
    # in this order: whoever finds a record finds the page
    return [("SET", edge_page_key(name), page, "EX", KEEP_PAGE_S), pack_sets(records, KEEP_S)]
