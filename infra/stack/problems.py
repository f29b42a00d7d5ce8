"""Problems of a running stack: a full disk, a Kafka that does not answer, a Redis that is full or accepts no writes."""

from __future__ import annotations

from collections.abc import Container

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from features.store.memory import Memory, memory_of
from features.store.redis_client import RespClient, StoreUnavailable
from infra.disk import MIN_FREE_MB, shortages, written_to
from infra.stack.problem import Problem
from infra.stack.standing import standing
from streams.runtime.settings import Settings

ANSWER_WITHIN_S = 3.0
#: share of its memory from which Redis is named as a problem; the alert StoreFull uses it too
NEARLY_FULL = 0.9


def problems(settings: Settings, running: Container[str]) -> list[Problem]:
    """All current problems, causes before consequences. Takes up to 6 s if nothing answers, 5 s while records wait somewhere.

    ``running``: names of the running processes; the others are not checked.
    """
    full = [
        Problem(f"{text}: Kafka and Redis wait for free space, then the stack recovers by itself", False)
        for text in shortages(written_to(settings.root), MIN_FREE_MB)
    ]
    kafka = _of_kafka(settings) if "kafka" in running else []
    needed = [*full, *kafka, *(_of_redis(settings) if "redis" in running else [])]
    # where Kafka or Redis is the problem, everything stands
    return needed if needed or "kafka" not in running else standing(settings)


def _of_kafka(settings: Settings) -> list[Problem]:
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})
    try:
        admin.list_topics(timeout=ANSWER_WITHIN_S)
    except KafkaException as error:
        return [
            Problem(
                f"Kafka at {settings.kafka} does not answer ({error.args[0].str()}): all processes wait for it; "
                f"its log is {settings.log_dir / 'kafka.log'}",
                True,
            )
        ]
    return []


def _of_redis(settings: Settings) -> list[Problem]:
    client = RespClient(settings.redis_address, timeout_s=ANSWER_WITHIN_S)
    try:
        info = client.call([("INFO", "persistence")])[0]
        memory = memory_of(client)
    except StoreUnavailable as error:
        return [Problem(f"Redis does not answer ({error}): all processes wait for it", True)]
    finally:
        client.close()
    found = []
    if b"aof_last_write_status:err" in bytes(info):
        folder = settings.root / "redis"
        text = f"Redis cannot write its file in {folder} and accepts no writes: is its disk full?"
        found.append(Problem(text, True))
    if memory.share >= NEARLY_FULL:
        found.append(Problem(_full(memory), False))
    return found


def _full(memory: Memory) -> str:
    used = f"Redis uses {memory.used / 2**20:,.0f} of {memory.limit / 2**20:,.0f} MB"
    then = (
        "decisions go on, without what it cannot store"
        if memory.share >= 1
        else "at the limit it refuses writes"
    )
    return f"{used}: {then}; raise `redis_memory_mb` in settings.json (infra/runbooks/StoreFull.md)"
