"""A store in memory that only the builders of a rebuild wrote to."""

from __future__ import annotations

from streams.processor.identities.partition_identities import PartitionIdentities
from streams.state.rebuild import CardBuilder, EntityBuilder
from tests.support.parity_world import (
    PARTITIONS,
    MemoryLog,
    MemoryRedis,
    rows_of,
    stretch_of,
    unbounded,
)


def builder_of(topic: str, partition: int, secret: tuple[int, int] = (0, 0)) -> CardBuilder | EntityBuilder:
    """The builder of a partition, for a log in memory; ``secret``: of identities."""
    if topic == "transactions":
        return CardBuilder(PARTITIONS, PartitionIdentities(partition, PARTITIONS, secret))
    return EntityBuilder(partition, PARTITIONS, unbounded)


def rebuilt(log: MemoryLog, most: int, secret: tuple[int, int] = (0, 0)) -> MemoryRedis:
    """A store that only the builders wrote to, fed ``most`` records at a time; ``secret``: of identities."""
    redis = MemoryRedis()
    for partition in range(PARTITIONS):
        for topic in ("transactions", "entities"):
            builder, records = builder_of(topic, partition, secret), log.topics.get((topic, partition), [])
            for start in range(0, len(records), most):
                part = records[start : start + most]
                if isinstance(builder, EntityBuilder):
                    builder.add(rows_of(part, partition))
                else:
                    builder.add(stretch_of(part, partition))
            redis.call([written.command for written in builder.writes()])
            if isinstance(builder, EntityBuilder):
                redis.call([*builder.said(), *builder.applied_writes()])
            else:
                redis.call(builder.identities())
    return redis
