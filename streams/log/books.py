"""Entries of `books`: what a person struck from the books when they did not balance, and why. JSON, never changed."""

from __future__ import annotations

import msgspec


class BookEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One repair, or a part of a large one."""

    #: RFC 3339
    at: str
    by: str
    why: str
    #: partition and offset of decisions that do not count: a second one of a transaction, or of no transaction
    struck: list[tuple[int, int]]
    #: partition and offset of transactions without an outcome, which got a dead letter
    closed: list[tuple[int, int]]
    #: partition and offset of transactions that the decision index knows, whose decision is not on the log any more
    settled: list[tuple[int, int]]


_decoder = msgspec.json.Decoder(BookEntry)
encode_entry = msgspec.json.Encoder().encode


def parse_entry(value: bytes | None) -> BookEntry | None:
    """The entry in a record; None if it is none."""
    try:
        entry: BookEntry = _decoder.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return entry
