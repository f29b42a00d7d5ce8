"""What a principal may do with a key of Redis, by the table of rights."""

from __future__ import annotations

from fnmatch import fnmatchcase

from streams.log.rights import Rights


def may_get(has: Rights, key: str) -> bool:
    """Whether it may read a key. fnmatch and Redis agree on patterns whose only special character is ``*``."""
    return any(fnmatchcase(key, pattern) for pattern in (*has.keys, *has.read_keys))


def may_set(has: Rights, key: str) -> bool:
    """Whether it may write a key."""
    return any(fnmatchcase(key, pattern) for pattern in has.keys)
