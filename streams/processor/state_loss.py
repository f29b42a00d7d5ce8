"""Detects that Redis is empty. Decisions then continue, degraded, until the state is rebuilt.

If Redis lost its last second, the processor reads that part of the log again. If Redis lost everything and the log is long, new
transactions would have to wait for the whole history; this module detects that case.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from confluent_kafka import TopicPartition

from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.redis_client import RespClient
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
