"""Versions of the state, side by side in one store: which there are, how far each is applied, whether one is complete.

The keys of a version's profiles, epochs, positions and of what is remembered beside them carry its number (``features.store.keys``). Only one version is at work at a time: who takes over shuts the
others out and goes on from where they ended (``streams.processor.takeover``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from features.profile.records import STATE_VERSION
from features.store.keys import EVERY_STATE_KEY, applied_key, group_of
from features.store.partition_lease import REBUILDING_KEY, Leases, TopicPartition
from features.store.redis_client import Command, RespClient, accepted, scanned

#: keys looked at in one step of a scan, a few milliseconds of the store's time
SCAN_STEP = 500
#: set of the versions that were ever begun
VERSIONS_KEY = "tollgate:state:versions"
#: the version of the processor that took over last
SERVING_KEY = "tollgate:state:serving"


def unfinished_key(version: int) -> str:
    """Redis key that is there while a version's state is being made or taken away, and after that was broken off.

    It does not expire: half a state is no state, however old.
    """
    return f"tollgate:state:{group_of(version)}:unfinished"


def removed(client: RespClient, chosen: Callable[[bytes], bool], say: Callable[[int, int], None]) -> int:
    """Take away the keys of state that are ``chosen``; returns how many. May be broken off and repeated.

    ``say``: told after each step how many keys of state were looked at, and how many are gone.

    Raises:
        StoreUnavailable: Redis did not come back in time, or refuses.
    """
    looked = gone = 0
    for keys in scanned(client, "MATCH", EVERY_STATE_KEY, SCAN_STEP):
        own = [key for key in keys if chosen(key)]
        if own:
            gone += accepted(client.with_retry([("UNLINK", *own)]))[0]
        looked += len(keys)
        say(looked, gone)
    return gone


def begin(version: int, why: str) -> list[Command]:
    """Commands that say that a version is not whole from here on."""
    told = json.dumps({"why": why, "since": datetime.now(UTC).isoformat(timespec="seconds")})
    return [("SADD", VERSIONS_KEY, version), ("SET", unfinished_key(version), told)]


def unfinished(client: RespClient, version: int) -> str | None:
    """Why a version's state is not whole, in words; None when it is, or was never begun."""
    raw = client.with_retry([("GET", unfinished_key(version))])[0]
    if raw is None:
        return None
    told = json.loads(raw)
    return f"{told['why']} (since {told['since']})"


def others(client: RespClient, version: int = STATE_VERSION) -> list[int]:
    """The other versions that were begun, ascending."""
    listed = client.with_retry([("SMEMBERS", VERSIONS_KEY)])[0]
    return sorted({*map(int, listed)} - {version})


def serving(client: RespClient) -> int:
    """The version of the processor that took over last; the first where nobody has said so."""
    return int(client.with_retry([("GET", SERVING_KEY)])[0] or 1)


def took_over(version: int) -> list[Command]:
    """Commands that say which version is at work from here on."""
    return [("SADD", VERSIONS_KEY, version), ("SET", SERVING_KEY, version)]


def forgotten(client: RespClient, version: int, places: Sequence[TopicPartition]) -> list[Command]:
    """Commands after which a version is not known to be applied to anything; who works on it is shut out at once."""
    leases = Leases(client, group_of(version))
    leases.lease(places)
    applied = {applied_key(partition, group_of(version)) for _, partition in places}
    return [*leases.forget(places), ("DEL", *sorted(applied))]


#: goes before a read of state by who does not write it; its reply is for ``is_whole``
ASK_WHOLE: Command = ("MGET", REBUILDING_KEY, unfinished_key(STATE_VERSION), SERVING_KEY)


def is_whole(reply: Sequence[bytes | None]) -> bool:
    """Whether the state that this code reads is there and kept up to date."""
    rebuilding, half, at_work = reply
    return rebuilding is None and half is None and int(at_work or 1) == STATE_VERSION


def furthest_elsewhere(
    client: RespClient,
    places: Sequence[TopicPartition],
    *,
    shut_out: bool = False,
    version: int = STATE_VERSION,
) -> dict[TopicPartition, int]:
    """How far any other version is applied; a partition that no other version has begun is left out.

    Args:
        shut_out: first raise the epochs of versions that have state, so that who still works on it cannot write any more.
    """
    furthest: dict[TopicPartition, int] = {}
    for other in others(client, version):
        leases = Leases(client, group_of(other))
        # a partition that is empty now may be written to by an older worker as soon as it is not
        found: Mapping[TopicPartition, int | None] = leases.stored(places)
        if shut_out and any(found.values()):
            found = leases.lease(places)
        for place, position in found.items():
            if position:
                furthest[place] = max(furthest.get(place, 0), position)
    return furthest
