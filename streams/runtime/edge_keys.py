"""The keys that seal what this stack's processes say in headers of `transactions`: a file, its rotation, and its readers.

A line of the file is a key of 32 bytes in hexadecimal; the first one seals, all are accepted. ``rotate`` puts a new key first and keeps
the one before; ``retire`` removes that one. Running processes follow within LOOK_EVERY_S; a seal by a key that a process does not
know yet makes it look at once, so that a rotation refuses nothing.
"""

from __future__ import annotations

import logging
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from streams.access.private_files import write_private
from streams.log.seal import KEY_BYTES, FixedKeys, Key, key_of

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
#: one that seals and one before it
MAX_KEYS = 2


class EdgeKeysError(Exception):
    """The file of keys is missing, open to others or unreadable; the text names it and the remedy."""

    exit_code = 2


def ensure_keys(path: Path) -> None:
    """Make the file with one key, readable by its owner only, if there is none.

    Raises:
        EdgeKeysError: there is one, and it cannot be used.
    """
    if not path.exists():
        _write(path, [key_of(secrets.token_bytes(KEY_BYTES))])
    read_keys(path)


def read_keys(path: Path) -> FixedKeys:
    """The keys of the file, the one that seals first.

    Raises:
        EdgeKeysError
    """
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeKeysError(
            f"the keys that seal decisions cannot be read: {error}; `tollgate up` makes {path}"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise EdgeKeysError(f"{path} is open to others (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
    keys = [_parsed(line, path) for line in text.split()]
    if not 1 <= len(keys) <= MAX_KEYS:
        raise EdgeKeysError(
            f"{path} holds {len(keys)} keys: 1 or 2 lines of {2 * KEY_BYTES} hexadecimal digits are wanted"
        )
    return FixedKeys(tuple(keys))


def rotate(path: Path) -> FixedKeys:
    """Seal with a new key from now on; the present one is accepted until ``retire`` or the next ``rotate``.

    Raises:
        EdgeKeysError
    """
    _write(path, [key_of(secrets.token_bytes(KEY_BYTES)), read_keys(path).newest()])
    return read_keys(path)


def retire(path: Path) -> FixedKeys:
    """Accept only the newest key from now on.

    Raises:
        EdgeKeysError
    """
    _write(path, [read_keys(path).newest()])
    return read_keys(path)


class EdgeKeys:
    """The file's keys in a running process (``streams.log.seal.Keys``)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: monotonic, seconds.

        Raises:
            EdgeKeysError: there are no keys to begin with.
        """
        self._path = path
        self._clock = clock
        self._state = _state(path)
        self._keys = read_keys(path)
        self._looked_s = clock()

    def newest(self) -> Key:
        """The key that seals."""
        self._look()
        return self._keys.newest()

    def find(self, key_id: bytes) -> Key | None:
        """An accepted key."""
        self._look()
        found = self._keys.find(key_id)
        if found is None:
            # another process may have read the file after a rotation, and this one not yet
            self._look(now=True)
            found = self._keys.find(key_id)
        return found

    def _look(self, *, now: bool = False) -> None:
        moment_s = self._clock()
        if not now and moment_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = moment_s
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = read_keys(self._path)
        except EdgeKeysError as error:
            logger.error("the keys read before stay in use: %s", error)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _parsed(line: str, path: Path) -> Key:
    try:
        secret = bytes.fromhex(line)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise EdgeKeysError(f"{path}: a line is not a key of {2 * KEY_BYTES} hexadecimal digits")
    return key_of(secret)


def _write(path: Path, keys: Sequence[Key]) -> None:
    write_private(path, "".join(key.secret.hex() + "\n" for key in keys).encode())
