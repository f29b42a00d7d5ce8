"""What the HTTP edge is made of, as protocols, so that tests bring their own; and the one read that two places need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import hiredis

from features.online.resp import Command, StoreUnavailable
from models.scorer import Scorer
from services.scoring.edge_entries import decode_record, edge_key
from services.scoring.edge_problems import unavailable
from streams.events import RolloutRecord
from streams.records import decision_key, decode_indexed

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
    try:
        reply = (
            await store.call(
                [("MGET", edge_key(transaction_id), decision_key(transaction_id))], LOOKUP_WITHIN_S
            )
        )[0]
    except StoreUnavailable as error:
        raise unavailable("store", str(error)) from error
    if isinstance(reply, hiredis.ReplyError):
        raise unavailable("store", str(reply))
    record, indexed = reply
    if indexed:
        return decode_indexed(indexed).decision
    known = decode_record(record) if record else None
    return known.decision if known is not None and known.header is None else None
