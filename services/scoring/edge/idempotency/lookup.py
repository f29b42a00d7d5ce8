"""Finds earlier decisions by id, in the decision index or in the edge's own records; many ids at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from features.store.redis_client import Command, StoreUnavailable
from services.scoring.edge.idempotency.claims import decode_record, edge_key, edge_page_key
from services.scoring.edge.problems import Problem, store_failed
from services.scoring.edge.protocols import LOOKUP_WITHIN_S, Store
from streams.contracts.invalid_event import UNREADABLE
from streams.log.decision_index import (
    IndexedDecision,
    PageError,
    Place,
    decode_page,
    entries_in,
    lookups,
    page_key,
    parse_entry,
    row_of,
)

logger = logging.getLogger(__name__)
#: a decision; a Problem when it cannot be read; None when there is none
Found = IndexedDecision | Problem | None


async def find_decision(store: Store, identity: str) -> bytes | None:
    """The decision of a transaction, by its identity, as JSON, from the ledger's index or the edge's own record; None when there is none.

    Raises:
        Problem: 503, the store cannot be reached; 500, the stored record does not parse.
    """
    (found,) = await find_decisions(store, [identity])
    if isinstance(found, Problem):
        raise found
    return found


async def find_decisions(store: Store, identities: Sequence[str]) -> list[bytes | Problem | None]:
    """As ``find_decision``, for many.

    Raises:
        Problem: 503, the store cannot be reached.
    """
    n = len(identities)
    now_s = time.time()
    asked = [("MGET", *map(edge_key, identities)), lookups(identities, now_s)]
    known, *hashed = await _ask_all(store, asked)
    # `_ask_all` has raised on error replies
    entries = entries_in(hashed, now_s)
    indexed: Sequence[Found] = [None] * n
    if any(entries):
        indexed = await read_indexed(store, entries)
    out: list[bytes | Problem | None] = []
    places: dict[int, Place] = {}
    for i, (found, raw) in enumerate(zip(indexed, known, strict=True)):
        if found is not None:
            out.append(found if isinstance(found, Problem) else found.decision)
            continue
        out.append(None)
        try:
            record = decode_record(raw) if raw else None
        except UNREADABLE as error:
            out[i] = unreadable(error)
            continue
        if record is not None and record.header is None:
            out[i] = record.decision
            if record.place is not None:
                places[i] = record.place
    for i, there in zip(places, await read_remembered(store, list(places.values())), strict=True):
        out[i] = there.decision if isinstance(there, IndexedDecision) else there
    return out


async def read_indexed(store: Store, entries: Sequence[bytes | None]) -> list[Found]:
    """The decisions that entries of the ledger's index point to; None where there is no entry, or its page has expired.

    Raises:
        Problem: 503, the store cannot be reached.
    """
    places: list[Place | Problem | None] = []
    for entry in entries:
        try:
            places.append(parse_entry(entry) if entry else None)
        except PageError as error:
            places.append(unreadable(error))
    return await _read(store, places, page_key)


async def read_remembered(store: Store, places: Sequence[Place]) -> list[Found]:
    """The decisions that the edge's own records point to, as ``read_indexed``."""
    return await _read(store, places, edge_page_key)


async def _read(
    store: Store, places: Sequence[Place | Problem | None], key: Callable[[str], str]
) -> list[Found]:
    """Read each page once, however many of its rows are wanted."""
    names = list({place.page: None for place in places if isinstance(place, Place)})
    if not names:
        return [place if isinstance(place, Problem) else None for place in places]
    stored = await _ask(store, ("MGET", *map(key, names)))
    pages = {name: _decoded(raw) for name, raw in zip(names, stored, strict=True)}
    return [_row(pages[place.page], place) if isinstance(place, Place) else place for place in places]


def _decoded(raw: bytes | None) -> list[IndexedDecision] | Problem | None:
    try:
        return decode_page(raw) if raw is not None else None
    except PageError as error:
        return unreadable(error)


def _row(page: list[IndexedDecision] | Problem | None, place: Place) -> Found:
    if not isinstance(page, list):
        return page
    try:
        return row_of(page, place)
    except PageError as error:
        return unreadable(error)


def unreadable(error: Exception) -> Problem:
    """500: the stored record of an id does not parse."""
    logger.error("the stored record of a transaction does not parse: %s", error)
    return Problem(500, "internal", "the stored record of this id does not parse")


async def _ask(store: Store, command: Command) -> Any:
    return (await _ask_all(store, [command]))[0]


async def _ask_all(store: Store, commands: Sequence[Command]) -> list[Any]:
    try:
        replies = await store.call(commands, LOOKUP_WITHIN_S)
    except StoreUnavailable as error:
        raise store_failed(error) from error
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise store_failed(reply)
    return replies
