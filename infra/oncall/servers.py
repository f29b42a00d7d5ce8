"""What oncall sees of Kafka, Redis and the machine besides whether they answer, as metrics: what explains a page, and what comes before one."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
from typing import NamedTuple

import psutil
from confluent_kafka import KafkaException

from features.store.redis_client import RespClient, StoreUnavailable
from streams.runtime.kafka.clients import new_admin
from streams.runtime.metrics import (
    CLOCK_ERROR,
    CLOCK_SYNCHRONISED,
    KAFKA_BROKERS,
    KAFKA_PARTITIONS,
    MACHINE_LOAD,
    MACHINE_MEMORY,
    REDIS_FIGURES,
)
from streams.runtime.parts import PartError
from streams.runtime.settings import Settings, load_settings

logger = logging.getLogger(__name__)

EVERY_S = 10.0
ANSWER_WITHIN_S = 3.0
#: fields of Redis' INFO, all numbers
FIGURES = (
    "connected_clients", "blocked_clients", "rejected_connections", "instantaneous_ops_per_sec", "evicted_keys", "latest_fork_usec",
    "aof_rewrite_in_progress", "aof_delayed_fsync", "aof_current_size", "mem_fragmentation_ratio",
)  # fmt: skip
_FIELD = re.compile(rb"^(\w+):([0-9.]+)\r?$", re.MULTILINE)
#: of adjtimex(2): nothing sets this machine's clock right
_UNSYNCHRONISED = 5


def follow_servers(home: str, stop: threading.Event) -> None:
    """Set the metrics until stopped. While a server is away its values are gone: nobody knows them."""
    while not stop.is_set():
        settings = load_settings(home)
        show_kafka(settings)
        show_redis(settings)
        show_machine()
        stop.wait(EVERY_S)


def show_kafka(settings: Settings) -> None:
    """Brokers that are there, and partitions of all topics: without a leader (nothing can be written), with fewer copies than they should have."""
    try:
        cluster = new_admin(settings.kafka).list_topics(timeout=ANSWER_WITHIN_S)
    except (KafkaException, PartError) as error:
        logger.info("Kafka does not say what it holds: %s", error)
        KAFKA_BROKERS.clear()
        KAFKA_PARTITIONS.clear()
        return
    partitions = [one for topic in cluster.topics.values() for one in topic.partitions.values()]
    KAFKA_BROKERS.labels("up").set(len(cluster.brokers))
    KAFKA_PARTITIONS.labels("all").set(len(partitions))
    KAFKA_PARTITIONS.labels("leaderless").set(sum(one.leader < 0 for one in partitions))
    KAFKA_PARTITIONS.labels("under_replicated").set(
        sum(len(one.isrs) < len(one.replicas) for one in partitions)
    )


def show_redis(settings: Settings) -> None:
    """What Redis says of itself: ``FIGURES``."""
    client = RespClient(settings.redis_address, timeout_s=ANSWER_WITHIN_S)
    try:
        (said,) = client.call([("INFO",)])
    except StoreUnavailable as error:
        logger.info("Redis does not say how it is: %s", error)
        REDIS_FIGURES.clear()
        return
    finally:
        client.close()
    fields = dict(_FIELD.findall(said if isinstance(said, bytes) else b""))
    for name in FIGURES:
        value = fields.get(name.encode())
        if value is not None:
            REDIS_FIGURES.labels(name).set(float(value))


def show_machine() -> None:
    """Memory, load and clock of this machine."""
    memory = psutil.virtual_memory()
    MACHINE_MEMORY.labels("available").set(memory.available)
    MACHINE_MEMORY.labels("size").set(memory.total)
    MACHINE_LOAD.labels("load").set(os.getloadavg()[0])
    MACHINE_LOAD.labels("cores").set(os.cpu_count() or 1)
    clock = kernel_clock()
    if clock is not None:
        CLOCK_SYNCHRONISED.set(clock.synchronised)
        CLOCK_ERROR.set(clock.max_error_s)


class Clock(NamedTuple):
    """The kernel's word on its clock. ``max_error_s``: it is off by no more, in seconds; while nothing synchronises it, it grows."""

    synchronised: bool
    max_error_s: float


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex`` (adjtimex(2)), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    )


def kernel_clock() -> Clock | None:
    """Ask the kernel (Linux); None where it does not say. Nothing is set."""
    asked = _Timex(modes=0)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    return Clock(state != _UNSYNCHRONISED, asked.maxerror / 1e6)
