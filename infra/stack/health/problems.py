"""Problems of a running stack: a full disk, a Kafka that does not answer, a Redis that is full or accepts no writes."""

from __future__ import annotations

from collections.abc import Container

from confluent_kafka import KafkaException

from features.store.memory import Memory, memory_of
from features.store.redis_client import RespClient, StoreUnavailable
from infra.disk import MIN_FREE_MB, shortages, written_to
from infra.stack.health.problem import Problem
from infra.stack.health.standing import standing
from streams.runtime.kafka.clients import new_admin
from streams.runtime.parts import PartError
from streams.runtime.settings import Settings

ANSWER_WITHIN_S = 3.0
#: share of its memory from which Redis is named as a problem; the alert StoreFull uses it too
NEARLY_FULL = 0.9


def problems(settings: Settings, running: Container[str]) -> list[Problem]:
    """All current problems, causes before consequences. Takes up to 6 s if nothing answers, 5 s while records wait somewhere.

    ``running``: names of the running processes; the others are not checked.
    """
    full = [
        Problem(
            f"{text}: Kafka and Redis wait for free space, then the stack recovers by itself",
            False,
            "DiskFilling",
        )
        for text in shortages(written_to(settings.root), MIN_FREE_MB)
    ]
    has_kafka = settings.elsewhere.kafka is not None or "kafka" in running
    kafka = _of_kafka(settings) if has_kafka else []
    redis = _of_redis(settings) if settings.elsewhere.redis or "redis" in running else []
    needed = [*full, *kafka, *redis]
    # where Kafka or Redis is the problem, everything stands
    return needed if needed or not has_kafka else standing(settings)


def _of_kafka(settings: Settings) -> list[Problem]:
    where = (
        ""
        if settings.elsewhere.kafka
        else f": `tollgate restart kafka`; its log is {settings.log_dir / 'kafka.log'}"
    )
    try:
        new_admin(settings.kafka).list_topics(timeout=ANSWER_WITHIN_S)
    except (KafkaException, PartError) as error:
        said = error.args[0].str() if isinstance(error, KafkaException) else error
        text = f"Kafka at {settings.kafka} does not answer ({said}): all processes wait for it{where}"
        return [Problem(text, True, "KafkaDown", "kafka", silent=True)]
    return []


def _of_redis(settings: Settings) -> list[Problem]:
    try:
        client = RespClient(settings.redis_address, timeout_s=ANSWER_WITHIN_S)
    except PartError as error:
        return [Problem(f"Redis cannot be reached: {error}", True, "RedisDown", "redis")]
    try:
        info = client.call([("INFO", "persistence")])[0]
        memory = memory_of(client)
    except StoreUnavailable as error:
        step = "" if settings.elsewhere.redis else ": `tollgate restart redis`"
        return [
            Problem(
                f"Redis does not answer ({error}): all processes wait for it{step}",
                True,
                "RedisDown",
                "redis",
                silent=True,
            )
        ]
    finally:
        client.close()
    found = []
    if b"aof_last_write_status:err" in bytes(info):
        folder = settings.root / "redis"
        text = f"Redis cannot write its file in {folder} and accepts no writes: is its disk full?"
        found.append(Problem(text, True, "RedisDown", "redis"))
    if memory.share >= NEARLY_FULL:
        found.append(Problem(_full(memory), False, "StoreFull", "redis"))
    return found


def _full(memory: Memory) -> str:
    used = f"Redis uses {memory.used / 2**20:,.0f} of {memory.limit / 2**20:,.0f} MB"
    then = (
        "decisions go on, without what it cannot store"
        if memory.share >= 1
        else "at the limit it refuses writes"
    )
    return f"{used}: {then}; raise `redis_memory_mb` in settings.json (infra/runbooks/StoreFull.md)"
