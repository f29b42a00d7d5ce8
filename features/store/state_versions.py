"""Versions of the state, side by side in one Redis: which exist, how far each is applied, whether one is complete.

Every key of a version carries its number (``features.store.keys``). Only one version is active at a time: a processor that takes over
locks the others out and continues at their positions (``streams.processor.takeover``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from features.profile.records import STATE_VERSION
from features.store.keys import EVERY_STATE_KEY, applied_key, group_of
from features.store.partition_lease import REBUILDING_KEY, Leases, TopicPartition
from features.store.redis_client import Command, RespClient, accepted, scanned

#: keys checked in one step of a scan; a step takes Redis a few milliseconds
SCAN_STEP = 500
#: set of all versions that were ever started
VERSIONS_KEY = "tollgate:state:versions"
#: the version of the processor that took over last
SERVING_KEY = "tollgate:state:serving"


def unfinished_key(version: int) -> str:
    """Redis key that exists while a version's state is being built or deleted, and after an interruption of that.

    It does not expire: incomplete state stays unusable, however old it is.
    """
    return f"tollgate:state:{group_of(version)}:unfinished"


def removed(client: RespClient, chosen: Callable[[bytes], bool], say: Callable[[int, int], None]) -> int:
    """Delete the keys of state that are ``chosen``; returns their number. Can be interrupted and repeated.

    ``say`` is called after each step with the numbers of keys checked and deleted.

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
    """Commands that mark a version as incomplete."""
    told = json.dumps({"why": why, "since": datetime.now(UTC).isoformat(timespec="seconds")})
    return [("SADD", VERSIONS_KEY, version), ("SET", unfinished_key(version), told)]


def unfinished(client: RespClient, version: int) -> str | None:
    """Why a version's state is incomplete, in words; None when it is complete, or was never started."""
    raw = client.with_retry([("GET", unfinished_key(version))])[0]
    if raw is None:
        return None
    told = json.loads(raw)
    return f"{told['why']} (since {told['since']})"


def others(client: RespClient, version: int = STATE_VERSION) -> list[int]:
    """The other versions that were ever started, ascending."""
    listed = client.with_retry([("SMEMBERS", VERSIONS_KEY)])[0]
    return sorted({*map(int, listed)} - {version})


def serving(client: RespClient) -> int:
    """The version of the processor that took over last; 1 where none is stored."""
    return int(client.with_retry([("GET", SERVING_KEY)])[0] or 1)


def took_over(version: int) -> list[Command]:
    """Commands that mark a version as the active one."""
    return [("SADD", VERSIONS_KEY, version), ("SET", SERVING_KEY, version)]


def forgotten(client: RespClient, version: int, places: Sequence[TopicPartition]) -> list[Command]:
    """Lock a version's workers out at once; returns the commands that delete its positions and applied offsets."""
    leases = Leases(client, group_of(version))
    leases.lease(places)
    applied = {applied_key(partition, group_of(version)) for _, partition in places}
    return [*leases.forget(places), ("DEL", *sorted(applied))]


#: command that a reader sends before it reads state; its reply is for ``is_whole``
ASK_WHOLE: Command = ("MGET", REBUILDING_KEY, unfinished_key(STATE_VERSION), SERVING_KEY)


def is_whole(reply: Sequence[bytes | None]) -> bool:
    """Whether this code's version of the state is complete and active."""
    rebuilding, half, at_work = reply
    return rebuilding is None and half is None and int(at_work or 1) == STATE_VERSION


def furthest_elsewhere(
    client: RespClient,
    places: Sequence[TopicPartition],
    *,
    shut_out: bool = False,
) -> dict[TopicPartition, int]:
    """For each partition the highest position of any other version; partitions without one are left out.

    Args:
        shut_out: first raise the epochs of versions that have state, so that their workers can no longer write.
    """
    furthest: dict[TopicPartition, int] = {}
    for other in others(client, STATE_VERSION):
        leases = Leases(client, group_of(other))
        # lease all partitions, also empty ones: an older worker could still write to them later
        found: Mapping[TopicPartition, int | None] = leases.stored(places)
        if shut_out and any(found.values()):
            found = leases.lease(places)
        for place, position in found.items():
            if position:
                furthest[place] = max(furthest.get(place, 0), position)
    return furthest
