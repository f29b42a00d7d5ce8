"""``tollgate features drop-version``: a version of the state that nobody needs any more is taken out of the store."""

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

#: keys looked at in one step, a few milliseconds of the store's time
STEP = 500
SAY_EVERY_KEYS = 100_000


class VersionInUse(Exception):
    """The version is the one that decides, or that this code would decide with."""


def drop_version(settings: Settings, version: int, say: Say) -> int:
    """Take a version's fields and keys away; returns from how many entities. May be broken off and repeated.

    Raises:
        VersionInUse. StoreUnavailable: run it again.
    """
    client = RespClient(settings.redis_address)
    if version == STATE_VERSION:
        raise VersionInUse(f"this code reads state version {version}")
    if version == serving(client):
        raise VersionInUse(
            f"state version {version} is at work: start the processor of this code (version {STATE_VERSION}) first"
        )
    if version not in others(client):
        return 0
    _check_caught_up(client, settings, version)
    # from here on it is not whole, and nobody takes it for that
    client.with_retry(begin(version, "it is being dropped, or that was broken off"))
    client.with_retry(forgotten(client, version, places_of(settings)))
    gone = _drop_profiles(client, version, say)
    for keys in scanned(client, "MATCH", f"{label_statement_prefix(group_of(version))}*", STEP):
        client.with_retry([("UNLINK", *keys)])
    client.with_retry([("SREM", VERSIONS_KEY, version), ("DEL", unfinished_key(version))])
    client.close()
    return gone


def _check_caught_up(client: RespClient, settings: Settings, version: int) -> None:
    """Raises: VersionInUse where positions of the version still say up to where this one has to catch up."""
    places = places_of(settings)
    theirs, own = (Leases(client, group_of(v)).stored(places) for v in (version, serving(client)))
    behind = [f"{t}[{p}]" for t, p in places if (own[t, p] or 0) < (theirs[t, p] or 0)]
    if behind:
        raise VersionInUse(
            f"state version {serving(client)} is still behind version {version} on {', '.join(behind)}: when it has caught up"
        )


def _drop_profiles(client: RespClient, version: int, say: Say) -> int:
    fields: dict[bytes, list[bytes]] = {key_prefix(entity): [] for entity in JOIN_KEYS}
    for view in views_of(version):
        fields[key_prefix(view.entity)] += fields_ever_of(view)
    gone = looked = told = 0
    for keys in scanned(client, "TYPE", "hash", STEP):
        # a hash without fields is no key any more: entities that only this version knew go wholly
        commands: list[Command] = [
            ("HDEL", key, *own) for key in keys for prefix, own in fields.items() if key.startswith(prefix)
        ]
        looked += len(keys)
        gone += sum(1 for reply in accepted(client.with_retry(commands)) if reply)
        if looked - told >= SAY_EVERY_KEYS:
            told = looked
            say(f"{looked:,} entities looked at, {gone:,} had state of version {version}")
    return gone
