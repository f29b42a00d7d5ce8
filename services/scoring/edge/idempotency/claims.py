"""The edge's record of an id in Redis, so that the id is decided once: first a claim, then the decision or its page and row."""

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

#: the labels worker's index has the decision within seconds and keeps it for 60 days
KEEP_S = 3600
#: a page outlives the records that point to it
KEEP_PAGE_S = KEEP_S + 60
#: a claim expires this long after its request's deadline, so that a crashed edge does not block an id for long
OPEN_BEYOND_MS = 2000
_CLAIM = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nNX\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"


class EdgeRecord(msgspec.Struct, array_like=True, frozen=True):
    """Redis' record of an id. Only a digest: being decided. With ``header``: published, not yet acknowledged.

    With ``page`` and ``row`` instead of a decision: the decision is on that page, with the others of its batch.
    """

    digest: bytes
    decision: bytes | None = None
    header: bytes | None = None
    page: str | None = None
    row: int = 0

    @property
    def place(self) -> Place | None:
        """The page and row of the decision; None when there is no page."""
        return None if self.page is None else Place(self.page, self.row)


_record_decoder = msgspec.msgpack.Decoder(EdgeRecord)
_pack = msgspec.msgpack.Encoder().encode


def edge_key(identity: str) -> str:
    """Redis key of the edge's record of one transaction."""
    return f"tollgate:edge:{identity}"


def edge_page_key(page: str) -> str:
    """Redis key of the decisions of one batch; never equal to an ``edge_key``."""
    return f"tollgate:edge-page:{page}"


def decode_record(raw: bytes) -> EdgeRecord:
    """Raises: msgspec.DecodeError."""
    record: EdgeRecord = _record_decoder.decode(raw)
    return record


def claims(entries: Sequence[Entry], now_s: float) -> list[Command]:
    """Commands that claim n ids and look up what is known of them; ``what_is_known`` parses the replies."""
    keys = [edge_key(entry.identity) for entry in entries]
    out = []
    for entry, key in zip(entries, keys, strict=True):
        name, value = key.encode(), _pack((entry.digest,))
        until = b"%d" % (entry.deadline_ms + OPEN_BEYOND_MS)
        out.append(_CLAIM % (len(name), name, len(value), value, len(until), until))
    ids = [entry.identity for entry in entries]
    return [Packed(b"".join(out), len(out)), ("MGET", *keys), lookups(ids, now_s)]


class Known(NamedTuple):
    """What is known of n ids: replies to their claims (None: already claimed), the edge's records, and entries of the ledger's index."""

    claimed: Sequence[Any]
    records: Sequence[bytes | None]
    entries: Sequence[bytes | None]


def claim_replies(n: int) -> int:
    """Number of replies to ``claims`` of n ids."""
    return n + 1 + WINDOWS * n


def what_is_known(replies: Sequence[Any], now_s: float) -> Known:
    """Parse the replies to ``claims``. A claim that Redis refused is a ``hiredis.ReplyError`` in ``claimed``.

    Raises:
        StoreUnavailable: Redis refused to read the records.
    """
    n = (len(replies) - 1) // (1 + WINDOWS)
    looked = replies[n]
    if isinstance(looked, hiredis.ReplyError):
        raise StoreUnavailable(f"Redis refused: {looked}")
    return Known(replies[:n], looked, entries_in(replies[n + 1 :], now_s))


def unclaim(entry: Entry) -> Command:
    """Command that deletes the claim of an undecided id."""
    return ("DEL", edge_key(entry.identity))


def remember(entry: Entry, *, acknowledged: bool) -> Command:
    """Command that stores a decision. One that is not acknowledged is stored with its header, so that a retry publishes it again."""
    record = EdgeRecord(entry.digest, entry.decision_json, None if acknowledged else entry.header)
    return ("SET", edge_key(entry.identity), _pack(record), "EX", KEEP_S)


def page_of(entries: Sequence[Entry]) -> bytes:
    """The decisions of a batch as one page, compressed to a tenth or less."""
    return encode_page([IndexedDecision(entry.decision_json, None) for entry in entries])


def remember_together(entries: Sequence[Entry], rows: Sequence[int], page: bytes) -> list[Command]:
    """Commands that store the acknowledged decisions of a batch: its page, then for each id a record that points to it.

    Args:
        rows: indexes into ``entries``, which are those into the page too.
    """
    name = secrets.token_hex(8)
    records = [
        (edge_key(entries[row].identity).encode(), _pack((entries[row].digest, None, None, name, row)))
        for row in rows
    ]
    # in this order, so that every record points to an existing page
    return [("SET", edge_page_key(name), page, "EX", KEEP_PAGE_S), pack_sets(records, KEEP_S)]
