"""Kafka, Redis and MLflow that run elsewhere (``settings.toml``): the stack uses them, and neither starts nor stops them."""

from __future__ import annotations

import time

import hiredis
import msgspec
from confluent_kafka import KafkaException

from features.store.redis_client import RespClient, StoreUnavailable
from infra.stack.errors import StackError, StackUsageError
from infra.stack.ports import settings_for
from streams.log.topics import Copies
from streams.runtime.kafka.clients import new_admin
from streams.runtime.parts import PARTS_FILE, read_settings_file
from streams.runtime.settings import SETTINGS_FILE, Settings

LOOK_S, ANSWER_WITHIN_S = 0.2, 3.0


def with_parts(settings: Settings) -> Settings:
    """The settings with what ``settings.toml`` in the stack's folder names.

    Raises:
        PartError: the file cannot be used.
    """
    parts, attributes, exploration, review = read_settings_file(settings.root)
    return msgspec.structs.replace(
        settings,
        elsewhere=parts,
        attributes=attributes,
        exploration=exploration,
        review=review,
        kafka=parts.kafka.bootstrap if parts.kafka else settings.kafka,
        redis=parts.redis.url if parts.redis else settings.redis,
        mlflow=parts.mlflow.url if parts.mlflow else settings.mlflow,
    )


def refuse_edited(known: Settings) -> None:
    """Check that nobody wrote another Kafka, Redis or MLflow into ``settings.json``, which a start would replace by the stack's own.

    Raises:
        StackUsageError: an address is not the stack's own, and ``settings.toml`` did not name it.
    """
    own = settings_for(known.root, known.port_base, secure=known.secure)
    found = (
        ("kafka", "bootstrap", str(known.kafka), str(own.kafka), known.elsewhere.kafka or known.embedded),
        ("redis", "url", known.redis_shown, own.redis, known.elsewhere.redis),
        ("mlflow", "url", known.mlflow, own.mlflow, known.elsewhere.mlflow),
    )
    for section, key, address, expected, named in found:
        if address != expected and not named:
            raise StackUsageError(
                f"{known.root / SETTINGS_FILE} has {section} at {address}, where this stack's own is {expected}: to use the other "
                f'one, write it to {known.root / PARTS_FILE} as `[{section}]` {key} = "{address}" (infra/PRODUCTION.md)'
            )


def copies(settings: Settings) -> Copies:
    """How many copies of a record there are: one on the stack's own broker."""
    part = settings.elsewhere.kafka
    return Copies(part.replication_factor, part.min_in_sync_replicas) if part else Copies()


def wait_for_broker(settings: Settings, until: float) -> None:
    """Wait until Kafka answers; ``until``: by the monotonic clock.

    Raises:
        StackError: it does not. PartError: its password cannot be read.
    """
    admin = new_admin(settings.kafka)
    while True:
        try:
            admin.list_topics(timeout=ANSWER_WITHIN_S)
        except KafkaException as error:
            if time.monotonic() > until:
                raise StackError(f"Kafka at {settings.kafka} does not answer: {error}") from error
        else:
            return


def wait_for_redis(settings: Settings, until: float) -> None:
    """Wait until a Redis elsewhere answers, and check that it keeps what it is given.

    Raises:
        StackError: it does not answer, refuses us, or may delete keys. PartError: its password cannot be read.
    """
    client = RespClient(settings.redis_address, ANSWER_WITHIN_S)
    try:
        while True:
            try:
                (memory,) = client.call([("INFO", "memory")])
            except StoreUnavailable as error:
                if time.monotonic() > until:
                    raise StackError(f"Redis at {settings.redis} does not answer: {error}") from error
                time.sleep(LOOK_S)
            else:
                break
    finally:
        client.close()
    if isinstance(memory, hiredis.ReplyError):
        raise StackError(f"Redis at {settings.redis} refuses: {memory}")
    policy = next(
        (line[17:] for line in memory.decode().splitlines() if line.startswith("maxmemory_policy:")), ""
    )
    if policy != "noeviction":
        raise StackError(
            f"Redis at {settings.redis} has the policy {policy or 'unknown'}: it may delete state. Set maxmemory-policy noeviction"
        )
