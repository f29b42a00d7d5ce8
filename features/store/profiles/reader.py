"""Reads several profiles in one round trip, for callers off the hot path.

Callers depend on ``ProfileReader`` only, not on how state is stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from features.profile.codec import ProfileError
from features.store.profiles.batch import Gather, HasEntities, StoreRefused
from features.store.redis_client import RespClient, StoreUnavailable
from features.store.state_versions import ASK_WHOLE, is_whole


class ProfilesUnavailable(Exception):
    """The profiles cannot be read now, or are incomplete (rebuild); the text says why."""


class Named(NamedTuple):
    """The requested entities; an empty id requests none."""

    card_id: str = ""
    customer_id: str = ""
    merchant_id: str = ""
    device_id: str = ""
    ip: str = ""


class ProfileReader(Protocol):
    """A source of profiles."""

    def read(self, wanted: Sequence[HasEntities]) -> Gather:
        """The profiles of all requested entities, with their applied offsets and the slots of each row.

        Raises:
            ProfilesUnavailable: they cannot be read, or are incomplete.
        """
        ...


class RedisProfiles:
    """A ProfileReader on the stack's Redis. Thread-safe; a forked process opens its own connection."""

    def __init__(self, address: str, partitions: int, timeout_s: float) -> None:
        """``address``: ``redis://host:port`` or ``unix:///path``; ``partitions``: per topic; ``timeout_s`` bounds every read. Connects on first use."""
        self._address, self._partitions, self._timeout_s = address, partitions, timeout_s
        self._lock = threading.Lock()
        self._connect()

    def _connect(self) -> None:
        self._client, self._process = RespClient(self._address, self._timeout_s), os.getpid()

    def read(self, wanted: Sequence[HasEntities]) -> Gather:
        """See ``ProfileReader``."""
        gather = Gather(wanted)
        try:
            with self._lock:
                if self._process != os.getpid():
                    self._connect()
                whole, *replies = self._client.call([ASK_WHOLE, *gather.commands(self._partitions)])
            if isinstance(whole, Exception):
                raise StoreRefused(str(whole))
            if not is_whole(whole):
                raise ProfilesUnavailable(
                    "the state is being rebuilt from the log (`tollgate status` shows the progress)"
                )
            gather.load(replies)
        except (StoreUnavailable, StoreRefused, ProfileError) as error:
            raise ProfilesUnavailable(f"profiles cannot be read: {error}") from error
        return gather
