"""What the HTTP edge is made of, as protocols, so that tests bring their own; and the one read that two places need."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import hiredis

from features.online.resp import Command, StoreUnavailable
from models.scorer import Scorer
from services.scoring.edge_entries import decode_record, edge_key
from services.scoring.edge_problems import Problem, unavailable
from streams.decision_index import IndexedDecision, PageError, entry_key, find_indexed, page_key, parse_entry
from streams.events import RolloutRecord

logger = logging.getLogger(__name__)

LOOKUP_WITHIN_S = 0.5


class Model(Protocol):
    """The live model (``services.scoring.live.LiveModel``); its scorer is None while there is no bundle."""

    problem: str

    @property
    def scorer(self) -> Scorer | None: ...
    @property
    def rollout(self) -> RolloutRecord | None: ...


class Store(Protocol):
    """What the edge needs of Redis (``services.scoring.edge_store.EdgeStore``)."""

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]: ...
    def post(self, commands: Sequence[Command]) -> None: ...


async def find_decision(store: Store, transaction_id: str) -> bytes | None:
    """The decision of a transaction as JSON, by the ledger's index or the edge's own record; None where none stands.

    Raises:
        Problem: 503, the store cannot be reached.
    """
    record, entry = await _ask(store, ("MGET", edge_key(transaction_id), entry_key(transaction_id)))
    if entry and (indexed := await read_indexed(store, transaction_id, entry)):
        return indexed.decision
    known = decode_record(record) if record else None
    return known.decision if known is not None and known.header is None else None


async def read_indexed(store: Store, transaction_id: str, entry: bytes) -> IndexedDecision | None:
    """The decision that an entry of the ledger's index names; None where its page is gone.

    Raises:
        Problem: 503, the store cannot be reached; 500, what it holds does not parse.
    """
    try:
        place = parse_entry(entry)
        return find_indexed(await _ask(store, ("GET", page_key(place.page))), place)
    except PageError as error:
        logger.error("the decision of transaction %s cannot be read: %s", transaction_id, error)
        raise Problem(500, "internal", "what is remembered of this id does not parse") from error


async def _ask(store: Store, command: Command) -> Any:
    try:
        (reply,) = await store.call([command], LOOKUP_WITHIN_S)
    except StoreUnavailable as error:
        raise unavailable("store", str(error)) from error
    if isinstance(reply, hiredis.ReplyError):
        raise unavailable("store", str(reply))
    return reply
