"""The decision index in Redis: finds a decision by its transaction's identity, for 60 days.

The decisions that one chunk holds of one partition of `decisions` form a *page*. A page is compressed as a whole: a decision of
570 bytes takes about 30. Each transaction has an *entry*: its page, its row there and the day of writing. A page is named by
its offsets, so one name always means the same decisions.

Entries are stored in a fixed number of hashes, one set of hashes per window of 60 days. As keys of their own they took four
times the memory, and each doubling of Redis' key table made its queries take twice as long for ten seconds (decision 15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import cramjam
import msgspec

from features.store.redis_client import Command, Packed, StoreUnavailable
from streams.contracts.invalid_event import UNREADABLE

#: how long a decision waits for its label
KEEP_S = 60 * 86_400
DAY_S = 86_400
#: pages expire later than their entries
KEEP_PAGE_S = KEEP_S + DAY_S + 3600
#: a window's hashes expire within a day of each other, once their newest entries are over
WINDOW_S = KEEP_S
#: an entry may be in the hashes of its window or of the one before
WINDOWS = 2
#: greatest difference between the clocks of writer and reader. So long before a window ends, look-ups ask the next window's
#: hashes instead of the previous one's, and entries are written to both windows, so that they are found on all their days
CLOCKS_APART_S = 300
#: hashes per window. Up to 128 entries a hash is a single piece of memory (``infra.stack.servers.redis``), above that a table
BUCKETS = 1 << 16
LEVEL = 1
#: larger pages would compress little better, and to read one decision its whole page is decompressed (0.1 ms)
PAGE_ROWS = 256


class PageError(Exception):
    """A stored entry or page cannot be read."""


class IndexedDecision(msgspec.Struct, array_like=True, frozen=True):
    """What is stored of one decision: its JSON and its header HEADER_ENTITIES, both as received."""

    decision: bytes
    entities: bytes | None


class Row(NamedTuple):
    """One record of `decisions` to index; ``identity``: ``features.identity.identity_of``."""

    offset: int
    identity: str
    indexed: IndexedDecision


class Place(NamedTuple):
    """Where a decision is stored: a page's name and the row on it."""

    page: str
    row: int


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[IndexedDecision])


def bucket_key(identity: str, window: int) -> bytes:
    """Redis key of the hash that holds a transaction's entry written in this window."""
    return _bucket_key(crc32(identity.encode()) % BUCKETS, window)


def page_key(name: str) -> str:
    """Redis key of a page."""
    return f"tollgate:decisions:{name}"


class IndexWriter:
    """Builds the commands that index decisions. Remembers the hashes that already have an expiry, to set it only once."""

    def __init__(self) -> None:
        # by window
        self._buckets: dict[int, dict[int, bytes]] = {}

    def writes(self, partition: int, rows: Sequence[Row], now_s: float, era: int = 0) -> list[Command]:
        """Commands that index decisions of one partition, given in offset order; ``now_s`` is seconds since 1970; ``era``: how often
        the partition's log began again, so that a page's name still means one page."""
        windows = sorted({_window(now_s), _window(now_s + CLOCKS_APART_S)})
        self._buckets = {window: self._buckets.get(window, {}) for window in windows}
        out: list[Command] = []
        for start in range(0, len(rows), PAGE_ROWS):
            some = rows[start : start + PAGE_ROWS]
            name = f"{partition}:{some[0].offset}-{some[-1].offset}"
            if era:
                name = f"{era}.{name}"
            page = encode_page([row.indexed for row in some])
            ids = [row.identity for row in some]
            out.append(("SET", page_key(name), page, "EX", KEEP_PAGE_S))
            out += [self._entries(name.encode(), ids, now_s, window) for window in windows]
        return out

    def _entries(self, page: bytes, identities: Sequence[str], now_s: float, window: int) -> Packed:
        buckets = self._buckets[window]
        until = (window + WINDOWS) * WINDOW_S
        day = int(now_s // DAY_S)
        entries: list[bytes] = []
        expiries: list[bytes] = []
        for row, identity in enumerate(identities):
            name = identity.encode()
            bucket = crc32(name) % BUCKETS
            key = buckets.get(bucket)
            if key is None:
                key = buckets[bucket] = _bulk(_bucket_key(bucket, window))
                # after the HSETs, because a key must exist to expire; spread over time so that not all expire together
                expiries.append(b"*3\r\n$8\r\nEXPIREAT\r\n%b%b" % (key, _bulk(b"%d" % (until + bucket))))
            value = b"%b:%d@%d" % (page, row, day)
            entries.append(
                b"*4\r\n$4\r\nHSET\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (key, len(name), name, len(value), value)
            )
        return Packed(b"".join([*entries, *expiries]), len(entries) + len(expiries))


def lookups(identities: Sequence[str], now_s: float) -> Packed:
    """Commands that read the entries of transactions, ``WINDOWS`` per transaction; ``entries_in`` reads the replies."""
    out = []
    newest = _window(now_s + CLOCKS_APART_S)
    for identity in identities:
        name = identity.encode()
        bucket, field = crc32(name) % BUCKETS, _bulk(name)
        out += [
            b"*3\r\n$4\r\nHGET\r\n%b%b" % (_bulk(_bucket_key(bucket, newest - back)), field)
            for back in range(WINDOWS)
        ]
    return Packed(b"".join(out), len(out))


def entries_in(replies: Sequence[Any], now_s: float) -> list[bytes | None]:
    """The newest entry of each transaction, for ``parse_entry``; None where there is none or it is too old.

    Raises:
        StoreUnavailable: the store replied with an error.
    """
    if replies.count(None) == len(replies):
        # the usual case: none of the transactions was decided before
        return [None] * (len(replies) // WINDOWS)
    refused = next((reply for reply in replies if isinstance(reply, Exception)), None)
    if refused is not None:
        raise StoreUnavailable(f"the store refused: {refused}")
    today = int(now_s // DAY_S)
    out: list[bytes | None] = []
    for at in range(0, len(replies), WINDOWS):
        stored = next((reply for reply in replies[at : at + WINDOWS] if reply is not None), None)
        if stored is not None:
            entry, _, day = stored.rpartition(b"@")
            # a malformed entry is left for ``parse_entry`` to refuse
            if entry and day.isdigit():
                stored = entry if today - int(day) <= KEEP_S // DAY_S else None
        out.append(stored)
    return out


def encode_page(decisions: Sequence[IndexedDecision]) -> bytes:
    """A page in its stored form."""
    return bytes(cramjam.zstd.compress(_encode(decisions), LEVEL))


def decode_page(stored: bytes) -> list[IndexedDecision]:
    """Raises: PageError."""
    try:
        page: list[IndexedDecision] = _decoder.decode(bytes(cramjam.zstd.decompress(stored)))
    except (cramjam.DecompressionError, *UNREADABLE) as error:
        raise PageError(f"a page of the decision index does not decode: {error}") from error
    return page


def parse_entry(stored: bytes) -> Place:
    """Raises: PageError."""
    page, _, row = stored.rpartition(b":")
    if not page or not row.isdigit() or len(row) > 9:
        raise PageError("an entry of the decision index names no page and row")
    return Place(page.decode("ascii", "replace"), int(row))


def row_of(page: Sequence[IndexedDecision], place: Place) -> IndexedDecision:
    """Raises: PageError: there is no such row."""
    if place.row >= len(page):
        raise PageError(f"page {place.page} of the decision index has {len(page)} rows, not {place.row + 1}")
    return page[place.row]


def _window(now_s: float) -> int:
    return int(now_s // WINDOW_S)


def _bucket_key(bucket: int, window: int) -> bytes:
    return b"tollgate:index:%d:%d" % (window, bucket)


def _bulk(part: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(part), part)
