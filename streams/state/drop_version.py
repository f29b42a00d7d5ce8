"""``tollgate features drop-version``: delete a state version that is no longer needed from the store."""

from __future__ import annotations

from features.profile.records import STATE_VERSION
from features.store.keys import JOIN_KEYS, fields_ever_of, key_prefix, views_of
from features.store.partition_lease import Leases
from features.store.redis_client import Command, RespClient, accepted, scanned
from features.store.state_versions import (
    VERSIONS_KEY,
    begin,
    forgotten,
    group_of,
    label_statement_prefix,
    others,
    serving,
    unfinished_key,
)
from streams.processor.takeover import places_of
from streams.runtime.settings import Settings
from streams.state.rebuild_work import Say

#: keys handled in one step; takes a few milliseconds of the store's time
STEP = 500
SAY_EVERY_KEYS = 100_000


class VersionInUse(Exception):
    """The version is the one in use, or the one that this code reads."""


def drop_version(settings: Settings, version: int, say: Say) -> int:
    """Delete a version's fields and keys; returns the number of entities that had any. May be interrupted and repeated.

    Raises:
        VersionInUse. StoreUnavailable: run it again.
    """
    client = RespClient(settings.redis_address)
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
    gone = _drop_profiles(client, version, say)
    for keys in scanned(client, "MATCH", f"{label_statement_prefix(group_of(version))}*", STEP):
        client.with_retry([("UNLINK", *keys)])
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


def _drop_profiles(client: RespClient, version: int, say: Say) -> int:
    fields: dict[bytes, list[bytes]] = {key_prefix(entity): [] for entity in JOIN_KEYS}
    for view in views_of(version):
        fields[key_prefix(view.entity)] += fields_ever_of(view)
    gone = looked = told = 0
    for keys in scanned(client, "TYPE", "hash", STEP):
        # Redis deletes a hash without fields: entities that only this version knew disappear
        commands: list[Command] = [
            ("HDEL", key, *own) for key in keys for prefix, own in fields.items() if key.startswith(prefix)
        ]
        looked += len(keys)
        gone += sum(1 for reply in accepted(client.with_retry(commands)) if reply)
        if looked - told >= SAY_EVERY_KEYS:
            told = looked
            say(f"{looked:,} entities checked, {gone:,} had state of version {version}")
    return gone
