"""Feast's online store of the product with a clock that stands where a test puts it; ``feature_store.yaml`` names this class."""

from __future__ import annotations

from typing import Literal

from features.store.feast_store import TollgateOnlineStore, TollgateOnlineStoreConfig


class StillOnlineStoreConfig(TollgateOnlineStoreConfig):
    type: Literal["tests.support.still_store.StillOnlineStore"]


class StillOnlineStore(TollgateOnlineStore):
    #: of all stores: Feast makes them
    moment_ms = 0

    def now_ms(self) -> int:
        return StillOnlineStore.moment_ms
