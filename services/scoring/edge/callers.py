"""Who calls the HTTP edge: the API key of a request, checked against the stored hashes. About 1 us a request."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from services.scoring.edge.problems import Problem, forbidden, unauthenticated
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

    def caller(self, headers: Mapping[bytes, bytes], permission: Permission) -> ApiKey | None:
        """The key of a request with these headers; None where there is none and none is required.

        Raises:
            Problem: 401, no key or one that does not count; 403, its role does not include the permission, or it has no key and a page of
                somewhere else sends it.
        """
        authorization = headers.get(b"authorization")
        if authorization is None:
            if self._required:
                raise unauthenticated("an API key is required: Authorization: Bearer tg_...")
            if b"origin" in headers or b"sec-fetch-site" in headers:
                _refuse_other_pages(headers)
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


def _refuse_other_pages(headers: Mapping[bytes, bytes]) -> None:
    """An edge without keys is open to the programs of its machine, not to whatever page a browser on it shows.

    Raises:
        Problem: 403, the browser says that the page is not the edge's own, or knows the edge by a foreign name (DNS rebinding).
    """
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"http://" + host.encode("latin-1")).decode("latin-1")
    own = origin.partition("://")[2] == host and _is_this_machine(host)
    if not own or headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        raise Problem(
            403, "cross_site", "a page of somewhere else sends this request: use an API key", "Origin"
        )


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names a loopback address."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    with suppress(ValueError):
        return ip_address(name.strip("[]")).is_loopback
    return name == "localhost"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
