"""What an attacker has: a producer's place on Kafka, and an API key of the HTTP edge where one is required.

A secured broker refuses a producer all but payments and labels. What it refused is then written by the process whose topic it is, as if
that process had been taken over: the system behind must hold as well.
"""

from __future__ import annotations

from functools import lru_cache

import httpx
from confluent_kafka import KafkaError

from streams.log.rights import RIGHTS
from streams.runtime.kafka.clients import new_reporting_producer
from streams.runtime.settings import Settings, acting_as, load_settings
from tests.support.running import run_json
from tests.support.waiting import STALL_S, until

PRODUCER = "producer"


def writer(settings: Settings, topic: str) -> str:
    """The Kafka address by which an attacker writes to a topic.

    Raises:
        AssertionError: the secured broker takes from a producer what only another may say.
    """
    if not settings.secure or topic in _topics_of(PRODUCER):
        return acting_as(settings, PRODUCER).kafka
    assert is_refused(acting_as(settings, PRODUCER).kafka, topic), f"a producer may write {topic}"
    owner = next(name for name in RIGHTS if topic in _topics_of(name))
    return acting_as(settings, owner).kafka


def is_refused(bootstrap: str, topic: str) -> bool:
    """Write one record: True if the broker says that this is not for its sender to say."""
    said: list[int | None] = []
    # an idempotent producer asks for more than the right to write
    producer = new_reporting_producer(bootstrap, "test", **{"enable.idempotence": False})
    producer.produce(
        topic,
        b'{"decision": "approve"}',
        key=b"fraud",
        partition=0,
        on_delivery=lambda error, _: said.append(error and error.code()),
    )
    assert producer.flush(STALL_S) == 0
    return said == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def _topics_of(principal: str) -> set[str]:
    return {topic.name for topic in RIGHTS[principal].writes}


def edge(settings: Settings) -> httpx.Client:
    """A client of the HTTP edge that has a key of the tenant `default`, where the edge asks for one."""
    return httpx.Client(base_url=settings.http, headers=edge_headers(settings), timeout=STALL_S)


def edge_headers(settings: Settings) -> dict[str, str]:
    """The headers with which the edge lets a program in."""
    return {"Authorization": f"Bearer {_key(settings.home)}"} if settings.secure else {}


@lru_cache
def _key(home: str) -> str:
    """One key for all attacks on a stack."""
    settings = load_settings(home)
    key = str(run_json(settings, "access", "key", "add", "attacker")["key"])
    headers = {"Authorization": f"Bearer {key}"}
    until(lambda: httpx.get(f"{settings.http}/v1/model", headers=headers, timeout=STALL_S).status_code != 401, STALL_S, "the key to count")  # fmt: skip
    return key
