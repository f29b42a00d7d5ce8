"""``tollgate features drop-version``: delete a state version that is no longer needed from the store."""

from __future__ import annotations

from collections.abc import Sequence

from features.profile.records import STATE_VERSION
from features.store.keys import epoch_key, group_of, profile_version, version_of
from features.store.partition_lease import Leases, TopicPartition
from features.store.redis_client import RespClient
from features.store.state_versions import (
    VERSIONS_KEY,
    begin,
    forgotten,
    others,
    removed,
    serving,
    unfinished_key,
)
from streams.processor.takeover import places_of
from streams.runtime.secured import REBUILD
from streams.runtime.settings import Settings, acting_as
from streams.state.rebuild_work import Say

SAY_EVERY_KEYS = 100_000


class VersionInUse(Exception):
    """The version is the one in use, or the one that this code reads."""


def drop_version(settings: Settings, version: int, say: Say) -> int:
    """Delete a version's keys; returns the number of profiles deleted. May be interrupted and repeated.

    Raises:
        VersionInUse. StoreUnavailable: run it again.
    """
    client = RespClient(acting_as(settings, REBUILD).redis_address)
    if version == STATE_VERSION:
        raise VersionInUse(f"this code reads state version {version}")
    if version == serving(client):
        raise VersionInUse(
            f"state version {version} is in use: first start the processor of this code (version {STATE_VERSION})"
        )
    if version not in others(client):
        return 0
    _check_caught_up(client, settings, version)
    # from here on the version is marked as incomplete, so nothing uses it
    client.with_retry(begin(version, "it is being dropped, or a drop was interrupted"))
    client.with_retry(forgotten(client, version, places_of(settings)))
    gone = _removed(client, version, places_of(settings), say)
    client.with_retry([("SREM", VERSIONS_KEY, version), ("DEL", unfinished_key(version))])
    client.close()
    return gone


def _check_caught_up(client: RespClient, settings: Settings, version: int) -> None:
    """Raises: VersionInUse if the version in use has not yet reached this version's positions, which it still needs."""
    places = places_of(settings)
    theirs, own = (Leases(client, group_of(v)).stored(places) for v in (version, serving(client)))
    behind = [f"{t}[{p}]" for t, p in places if (own[t, p] or 0) < (theirs[t, p] or 0)]
    if behind:
        raise VersionInUse(
            f"state version {serving(client)} is still behind version {version} on {', '.join(behind)}: try again when it has caught up"
        )


def _removed(client: RespClient, version: int, places: Sequence[TopicPartition], say: Say) -> int:
    """Delete all keys of a version except its epochs: a worker that wakes after a long stop must not hold an epoch that is valid again."""
    epochs = {epoch_key(*place, group_of(version)).encode() for place in places}
    told = profiles = 0

    def chosen(key: bytes) -> bool:
        nonlocal profiles
        own = version_of(key) == version and key not in epochs
        profiles += own and profile_version(key) is not None
        return own

    def how_far(looked: int, gone: int) -> None:
        nonlocal told
        if looked - told >= SAY_EVERY_KEYS:
            told = looked
            say(f"{looked:,} keys checked, {gone:,} were of version {version}")

    removed(client, chosen, how_far)
    return profiles
