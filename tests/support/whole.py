"""What a store in memory holds of entities, as records: on which day each was written, and how it is packed, is left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.profile.codec import read_profiles
from features.profile.records import new_arena
from features.store.keys import key, profile_version
from features.store.views import VIEWS, View
from tests.support.parity_world import PARTITIONS, MemoryRedis

_BY_NAME = {view.name: view for view in VIEWS}


def stored(redis: MemoryRedis, view: View, name: str) -> bytes | None:
    """The string that is stored of one entity."""
    return redis.values.get(key(view, name, PARTITIONS).decode())


def profile_of(redis: MemoryRedis, view: View, name: str) -> np.ndarray:
    """The profile of one entity as an arena that begins with it; an empty one where nothing is stored."""
    return _read(view, stored(redis, view, name))


def whole(values: Mapping[str, bytes], version: int | None = None) -> dict[str, bytes]:
    """Every stored profile, of one version or of all, by its key."""
    out = {}
    for name, value in values.items():
        found = profile_version(name.encode())
        if found is not None and version in (None, found):
            out[name] = _read(_BY_NAME[name.split(":", 2)[1]], value)[0].tobytes()
    return out


def _read(view: View, value: bytes | None) -> np.ndarray:
    arena = new_arena(view.dtype, 1)
    read_profiles(arena, np.array([0]), [value])
    return arena
