"""What the HTTP edge is made of, as protocols, so that tests bring their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from features.store.redis_client import Command, StoreUnavailable
from models.scoring.scorer import Scorer
from streams.contracts.rollout import RolloutRecord

LOOKUP_WITHIN_S = 0.5


class StoreLate(StoreUnavailable):
    """Not everything that was asked was answered in time."""

    def __init__(self, text: str, replies: Sequence[Any]) -> None:
        """``replies``: to the first of the commands; those came."""
        super().__init__(text)
        self.replies = replies


class Model(Protocol):
    """The live model (``services.scoring.model.live.LiveModel``); its scorer is None while there is no bundle."""

    problem: str

    @property
    def scorer(self) -> Scorer | None: ...
    @property
    def rollout(self) -> RolloutRecord | None: ...


class Store(Protocol):
    """What the edge needs of Redis (``services.scoring.edge.store.EdgeStore``)."""

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Replies in order. Raises: StoreUnavailable; StoreLate with those that came in time."""
        ...

    def post(self, commands: Sequence[Command]) -> None: ...
