"""Who calls the HTTP edge: the API key of a request, checked against the stored hashes. About 1 us a request."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from services.scoring.edge.problems import forbidden, unauthenticated
from streams.access.api_keys import KEYS_FILE, ApiKey, note_use, read_keys
from streams.access.directory import AccessError
from streams.access.roles import MAY, Permission
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
#: how often to look whether keys were made or revoked, and how often to note a key's use
LOOK_S, NOTE_S = 1.0, 60.0
_BEARER, _MAX_BYTES = b"bearer ", 256


class Callers:
    """The API keys of one edge process. Where none is required, a request without a key may do everything."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._required = settings.access == "required" or settings.secure
        self._folder, self._clock = settings.access_dir, clock
        #: by hash: the key, what it may do, when it expires
        self._keys: dict[bytes, tuple[ApiKey, frozenset[Permission], float]] = {}
        self._seen: tuple[int, int] | None = None
        self._looked_s = float("-inf")
        self._noted_s: dict[str, float] = {}

    def caller(self, authorization: bytes | None, permission: Permission) -> ApiKey | None:
        """The key of a request with this header; None where there is none and none is required.

        Raises:
            Problem: 401, no key or one that does not count; 403, its role does not include the permission.
        """
        if authorization is None:
            if self._required:
                raise unauthenticated("an API key is required: Authorization: Bearer tg_...")
            return None
        now_s = self._clock()
        if now_s - self._looked_s >= LOOK_S:
            self._look(now_s)
        if authorization[:7].lower() != _BEARER or len(authorization) > _MAX_BYTES:
            raise unauthenticated("the Authorization header holds no API key: Authorization: Bearer tg_...")
        found = self._keys.get(hashlib.sha256(authorization[7:].strip()).digest())
        if found is None:
            raise unauthenticated("this API key is not known, or was revoked")
        key, may, expires_s = found
        if expires_s <= now_s:
            raise unauthenticated(f"the API key {key.id} has expired")
        if permission not in may:
            raise forbidden(f"the API key {key.id} has the role {key.role}, which may not {permission}")
        if now_s - self._noted_s.get(key.id, 0.0) >= NOTE_S:
            self._note(key.id, now_s)
        return key

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        seen = _stamp(self._folder / KEYS_FILE)
        if seen == self._seen:
            return
        try:
            keys = read_keys(self._folder)
        except (AccessError, OSError) as error:
            # the keys known before go on; those revoked since are the price of a file that somebody broke
            logger.error("API keys cannot be read, those known before stay: %s", error)
            return
        self._keys = {
            bytes.fromhex(key.sha256): (
                key,
                MAY[key.role],
                key.expires_at.timestamp() if key.expires_at else math.inf,
            )
            for key in keys
            if key.revoked_at is None
        }
        self._seen = seen

    def _note(self, key_id: str, now_s: float) -> None:
        self._noted_s[key_id] = now_s
        try:
            note_use(self._folder, key_id)
        except OSError as error:
            logger.warning("the use of API key %s is not noted: %s", key_id, error)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
