"""The parts that the HTTP edge depends on, as protocols, so that tests can pass fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from features.store.redis_client import Command, StoreUnavailable
from services.scoring.model.serving import Serving
from streams.contracts.rollout import RolloutRecord

LOOKUP_WITHIN_S = 0.5
#: a busy broker takes longer than a store; who asks whether the edge is ready waits 2 s
BROKER_WITHIN_S = 1.5


class StoreLate(StoreUnavailable):
    """Some replies did not arrive in time."""

    def __init__(self, text: str, replies: Sequence[Any]) -> None:
        """``replies``: those that arrived, for the first of the commands, in order."""
        super().__init__(text)
        self.replies = replies


class Model(Protocol):
    """The live model (``services.scoring.model.live.LiveModel``); no champion while there is no bundle."""

    problem: str

    @property
    def serving(self) -> Serving: ...
    @property
    def rollout(self) -> RolloutRecord | None: ...


class Store(Protocol):
    """The part of a Redis client that the edge uses (``services.scoring.edge.store.EdgeStore``)."""

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Replies in order. Raises: StoreUnavailable; StoreLate with the replies that arrived in time."""
        ...

    def post(self, commands: Sequence[Command]) -> None: ...
