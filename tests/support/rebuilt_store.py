"""A store in memory that only the builders of a rebuild wrote to."""

from __future__ import annotations

from typing import Any

from streams.state.rebuild import CardBuilder, EntityBuilder
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis, rows_of, stretch_of


def rebuilt(log: MemoryLog, most: int) -> MemoryRedis:
    """A store that only the builders wrote to, fed ``most`` records at a time."""
    redis = MemoryRedis()
    for partition in range(PARTITIONS):
        builders: list[tuple[str, Any, Any]] = [
            ("transactions", CardBuilder(PARTITIONS), stretch_of),
            ("entities", EntityBuilder(partition, PARTITIONS), rows_of),
        ]
        for topic, builder, form in builders:
            records = log.topics.get((topic, partition), [])
            for start in range(0, len(records), most):
                builder.add(form(records[start : start + most], partition))
            redis.call([written.command for written in builder.writes()])
            if isinstance(builder, EntityBuilder):
                redis.call([*builder.said(), *builder.applied_writes()])
    return redis
