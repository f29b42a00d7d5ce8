"""Detects that Redis is empty, or full. Decisions then continue, degraded, until the state is rebuilt or Redis has room.

If Redis lost its last second, the processor reads that part of the log again. If Redis lost everything and the log is long, new
transactions would have to wait for the whole history; this module detects that case.

A session without state commits its offsets in Kafka only. The next one with state applies those records silently, up to the
committed offsets: their features are on the log, and decided.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from confluent_kafka import TopicPartition

from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.redis_client import ASK_ROOM, RespClient, has_room
from features.store.state_versions import furthest_elsewhere
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)

#: the processor itself reads a log of up to this many records again, at 10,000 or more a second; a longer one needs a rebuild
READ_AGAIN_AT_MOST = 100_000
#: Kafka's consumer group, the same for every version of the state: two versions must not read the same partition at once
GROUP = "processor"


def find_lost(
    settings: Settings, client: RespClient, leases: Leases, assigned: Sequence[tuple[str, int]]
) -> str | None:
    """Why the state is lost, in words for the log; None if it exists, or if the log is short enough to be read again.

    Raises:
        StoreUnavailable: Redis did not come back in time. KafkaException: the broker does not answer.
    """
    marker = client.with_retry([("GET", REBUILDING_KEY)])[0]
    if marker is None and assigned and not (leases.known(assigned) or furthest_elsewhere(client, assigned)):
        behind = sum(committed(settings, assigned).values())
        if behind > READ_AGAIN_AT_MOST:
            why = f"Redis holds no state, and {behind:,} records were handled before"
            marker = json.dumps(
                {"why": why, "since": datetime.now(UTC).isoformat(timespec="seconds")}
            ).encode()
            client.with_retry([("SET", REBUILDING_KEY, marker, "NX")])
    if marker is None:
        return None
    told = json.loads(marker)
    return f"{told['why']} (since {told['since']}); `tollgate features rebuild` rebuilds it from the log"


def no_room(client: RespClient) -> str | None:
    """Why no state can be written, in words for the log; None if it can.

    Raises:
        StoreUnavailable: Redis did not come back in time.
    """
    (reply,) = client.with_retry([ASK_ROOM])
    return None if has_room(reply) else f"Redis is full ({reply}): give it more memory (`redis_memory_mb`)"


def decided_without_state(
    settings: Settings,
    leases: Leases,
    assigned: Sequence[tuple[str, int]],
    produced: Mapping[tuple[str, int], int],
) -> dict[tuple[str, int], int]:
    """``produced``, raised to the offsets that a session without state has committed beyond the state's positions.

    Raises:
        KafkaException: the broker does not answer.
    """
    at, stored = committed(settings, assigned), leases.positions(assigned)
    ahead = {place: offset for place, offset in at.items() if offset > stored[place] > 0}
    return {place: max(produced.get(place, 0), ahead.get(place, 0)) for place in {*produced, *ahead}}


def committed(settings: Settings, assigned: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The processor group's committed offset of each partition; 0 where there is none.

    Raises:
        KafkaException: the broker does not answer.
    """
    reader = log_reader(settings.kafka, **{"group.id": GROUP})
    try:
        places = [TopicPartition(topic, partition) for topic, partition in assigned]
        found = reader.committed(places, timeout=30)
        return {(place.topic, place.partition): max(0, place.offset) for place in found}
    finally:
        reader.close()
