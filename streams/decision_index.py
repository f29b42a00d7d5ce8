"""The ledger index in Redis: where a decision is found by its transaction, for 60 days.

What one chunk holds of one partition of `decisions` is a *page*: compressed together, a decision of 570 bytes takes about 30.
Per transaction there is an *entry*, which names its page and its row there. A page is named by its offsets, so the same name is
always the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cramjam
import msgspec

from features.online.resp import Command, Packed, pack_sets

#: how long a decision waits for its label
KEEP_S = 60 * 86_400
#: a page outlives its entries
KEEP_PAGE_S = KEEP_S + 3600
LEVEL = 1
#: more would compress little better, and one decision is read by decompressing them all (0.1 ms)
PAGE_ROWS = 256


class PageError(Exception):
    """A stored entry or page cannot be read."""


class IndexedDecision(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of one decision: its JSON, and its header HEADER_ENTITIES as it came."""

    decision: bytes
    entities: bytes | None


class Row(NamedTuple):
    """One record of `decisions` to be indexed."""

    offset: int
    transaction_id: str
    indexed: IndexedDecision


class Place(NamedTuple):
    """What an entry says."""

    page: str
    row: int


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[IndexedDecision])


def entry_key(transaction_id: str) -> str:
    """Redis key of a transaction's entry."""
    return f"tollgate:decided:{transaction_id}"


def page_key(name: str) -> str:
    """Redis key of a page."""
    return f"tollgate:decisions:{name}"


def index_writes(partition: int, rows: Sequence[Row]) -> list[Command]:
    """The commands that index some decisions of one partition, in the order of their offsets."""
    out: list[Command] = []
    for start in range(0, len(rows), PAGE_ROWS):
        some = rows[start : start + PAGE_ROWS]
        name = f"{partition}:{some[0].offset}-{some[-1].offset}"
        page = encode_page([row.indexed for row in some])
        out += [
            ("SET", page_key(name), page, "EX", KEEP_PAGE_S),
            _entries(name, [row.transaction_id for row in some]),
        ]
    return out


def encode_page(decisions: Sequence[IndexedDecision]) -> bytes:
    """A page as it is stored."""
    return bytes(cramjam.zstd.compress(_encode(decisions), LEVEL))


def decode_page(stored: bytes) -> list[IndexedDecision]:
    """Raises: PageError."""
    try:
        page: list[IndexedDecision] = _decoder.decode(bytes(cramjam.zstd.decompress(stored)))
    except (cramjam.DecompressionError, msgspec.MsgspecError) as error:
        raise PageError(f"a page of the ledger index does not decode: {error}") from error
    return page


def parse_entry(stored: bytes) -> Place:
    """Raises: PageError."""
    page, _, row = stored.rpartition(b":")
    if not page or not row.isdigit() or len(row) > 9:
        raise PageError("an entry of the ledger index names no page and row")
    return Place(page.decode("ascii", "replace"), int(row))


def row_of(page: Sequence[IndexedDecision], place: Place) -> IndexedDecision:
    """Raises: PageError: there is no such row."""
    if place.row >= len(page):
        raise PageError(f"page {place.page} of the ledger index has {len(page)} rows, not {place.row + 1}")
    return page[place.row]


def _entries(page: str, transaction_ids: Sequence[str]) -> Packed:
    """A SET for each transaction."""
    name = page.encode()
    return pack_sets(
        [(entry_key(i).encode(), b"%b:%d" % (name, row)) for row, i in enumerate(transaction_ids)], KEEP_S
    )
