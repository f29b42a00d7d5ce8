"""The entity stage with a store and a log in memory."""

from __future__ import annotations

from typing import Any

from features.store.keys import GROUP
from features.store.partition_lease import Leases
from features.store.profiles.cache import ProfileCache
from streams.log.offsets.log_marks import LogMarks
from streams.processor.commit import SynchronousCommitter
from streams.processor.entities import EntityStage
from tests.support.parity_world import MemoryLog, MemoryRedis, unbounded


def stage_in_memory(source_end: Any = unbounded) -> tuple[EntityStage, Any, Any]:
    """A stage that holds partition 0 of `entities`, its store and its log."""
    redis: Any = MemoryRedis()
    log: Any = MemoryLog()
    leases = Leases(redis, GROUP)
    leases.lease([("entities", 0)])
    cache = ProfileCache(1)
    cache.begin_session([0])
    stage = EntityStage(
        redis, log, leases, cache, SynchronousCommitter(log, leases), source_end, LogMarks("", redis, GROUP)
    )
    stage.load_applied([0])
    return stage, redis, log
