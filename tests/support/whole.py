"""Stored state as if every profile had been written whole: when one was, and what came since, depends on how batches fell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from features.profile.codec import encode_profiles
from features.profile.records import STATE_VERSION, new_arena
from features.store.keys import View, hash_field, views_of
from features.store.stored_profiles import read_profiles
from streams.processor.entity_updates import dtype_of

_VIEWS = [
    (view, hash_field(named.name, "profile"), hash_field(named.name, "since"))
    for version in (1, 2)
    for view, named in zip(views_of(STATE_VERSION), views_of(version), strict=True)
]


def stored_profile(view: View, fields: Mapping[Any, bytes], profile: bytes, since: bytes) -> np.ndarray:
    """The profile in the fields ``profile`` and ``since`` of a view's hash; an empty one where there is none."""
    arena = new_arena(dtype_of(view), 1)
    read_profiles(arena, np.array([0]), [fields.get(profile)], [fields.get(since)] if view.in_parts else ())
    return arena


def profile_of(view: View, fields: Mapping[Any, bytes]) -> np.ndarray:
    """As ``stored_profile``, of a view of this code."""
    return stored_profile(view, fields, hash_field(view.name, "profile"), hash_field(view.name, "since"))


def whole(hashes: Mapping[Any, Mapping[Any, bytes]]) -> dict[Any, dict[Any, bytes]]:
    """Hashes of entities, and others as they are."""
    out: dict[Any, dict[Any, bytes]] = {}
    for key, fields in hashes.items():
        out[key] = dict(fields)
        for view, profile, since in _VIEWS:
            if profile in fields or since in fields:
                arena = stored_profile(view, fields, profile, since)
                out[key][profile] = encode_profiles(arena, np.array([0]))[0]
            out[key].pop(since, None)
    return out
