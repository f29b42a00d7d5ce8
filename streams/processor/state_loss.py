"""Detects that Redis is empty. Decisions then continue, degraded, until the state is rebuilt.

A store that forgot a little is made good by reading its log again. One that forgot everything, with a long log behind it,
would keep every new transaction waiting for the whole history: that is what is found out here.
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

#: a log of so many records is read again by the processor itself, at 10,000 and more a second; a longer one is rebuilt
READ_AGAIN_AT_MOST = 100_000
#: of Kafka, for every version of the state: two versions must not read the same partition at once
GROUP = "processor"


def find_lost(
    settings: Settings, client: RespClient, leases: Leases, assigned: Sequence[tuple[str, int]]
) -> str | None:
    """Why there is no state to work with, in words for the log; None when there is, or when it is soon read again.

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
    return f"{told['why']} (since {told['since']}); `tollgate features rebuild` makes it again from the log"


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
