"""Deletes profiles of entities that have been silent for 60 days, a few keys a second.

MSET cannot set a time to live. A SET with one for each profile costs Redis 14 to 18 us a transaction more (decision 18); the sweep
costs less than a thousandth of a core.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from features.profile.codec import HEADER, written_day
from features.store.keys import EVERY_STATE_KEY, profile_version
from features.store.redis_client import Command, RespClient, StoreUnavailable, accepted

logger = logging.getLogger(__name__)

DAY_S = 86_400
#: the longest window, the label delay, and a margin
KEEP_DAYS = 60
#: keys looked at in a step, at least; and of all keys in the store such a share: one step a second comes past each of them in a day
STEP_KEYS, STEP_SHARE = 200, 1 / 86_400


def day_of(now_s: float) -> int:
    """Days since 1970."""
    return int(now_s // DAY_S)


class Sweep:
    """Scans all keys, step by step, again and again. Several workers can sweep one Redis at the same time.

    A profile that was just written is never deleted: the keys are WATCHed and checked again before.
    """

    def __init__(self, client: RespClient, clock: Callable[[], float] = time.time) -> None:
        """``client`` must not be used for anything else; ``clock``: seconds since 1970."""
        self._client = client
        self._clock = clock
        self._cursor: bytes | str = "0"
        self._found: list[bytes] = []
        self._step_keys = STEP_KEYS
        self._gone = 0
        self._failed = False

    def step(self) -> int:
        """Check the keys found in the previous step and find the next ones; returns the number of deleted profiles.

        If Redis does not answer, or refuses, the next step tries again.
        """
        scan: Command = ("SCAN", self._cursor, "MATCH", EVERY_STATE_KEY, "COUNT", self._step_keys)
        try:
            *headers, size, scanned = self._client.call([*_headers(self._found), ("DBSIZE",), scan])
            size, (cursor, found) = accepted([size, scanned])
            gone = self._take_away(self._silent(self._found, headers))
        except StoreUnavailable as error:
            if not self._failed:
                logger.warning(
                    "profiles of silent entities are not deleted until the store answers: %s", error
                )
            self._failed = True
            return 0
        self._failed = False
        self._step_keys = max(STEP_KEYS, int(size * STEP_SHARE))
        self._cursor, self._found = cursor, [key for key in found if profile_version(key) is not None]
        self._gone += gone
        if cursor == b"0" and self._gone:
            logger.info("deleted profiles of entities silent for %d days: %d", KEEP_DAYS, self._gone)
            self._gone = 0
        return gone

    def _silent(self, keys: Sequence[bytes], headers: Sequence[Any]) -> list[bytes]:
        today = day_of(self._clock())
        # a key that cannot be read is left alone: it must not hold up the others
        days = [written_day(header) if isinstance(header, bytes) else None for header in headers]
        return [
            key for key, day in zip(keys, days, strict=True) if day is not None and today - day > KEEP_DAYS
        ]

    def _take_away(self, keys: Sequence[bytes]) -> int:
        if not keys:
            return 0
        watched, *headers = self._client.call([("WATCH", *keys), *_headers(keys)])
        accepted([watched])
        # a key that is written from here on lets nothing of this go; it comes round again
        silent = self._silent(keys, headers)
        unlink: list[Command] = [("UNLINK", *silent)] if silent else []
        done = self._client.call([("MULTI",), *unlink, ("EXEC",)])[-1]
        return sum(done) if isinstance(done, list) else 0


def _headers(keys: Sequence[bytes]) -> list[Command]:
    return [("GETRANGE", key, 0, HEADER - 1) for key in keys]
