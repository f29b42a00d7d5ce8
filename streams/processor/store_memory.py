"""Redis' memory as metrics, so that on-call hears of it before Redis is full."""

from __future__ import annotations

from features.store.memory import memory_of
from features.store.redis_client import RespClient, StoreUnavailable
from streams.runtime.metrics import STORE_BYTES

LOOK_EVERY_S = 5.0


class StoreMemory:
    """Sets the metrics, at most once in ``LOOK_EVERY_S``."""

    def __init__(self, client: RespClient) -> None:
        self._client = client
        self._looked_at = float("-inf")

    def look(self, now_s: float) -> None:
        """``now_s``: by a monotonic clock. While Redis does not answer, the metrics keep their last values."""
        if now_s - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now_s
        try:
            memory = memory_of(self._client)
        except StoreUnavailable:
            return
        STORE_BYTES.labels("used").set(memory.used)
        STORE_BYTES.labels("limit").set(memory.limit)
