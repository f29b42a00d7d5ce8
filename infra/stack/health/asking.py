"""Questions to the processes of a stack, from outside: does each answer?

A process that is frozen, or that waits for another one, still looks alive to its supervisor; whether it answers is what its callers feel.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import NamedTuple

from confluent_kafka import KafkaException

from features.store.redis_client import RespClient, StoreUnavailable
from infra.stack.servers.monitoring import scraped
from streams.runtime.kafka.clients import new_admin
from streams.runtime.settings import Settings, load_settings

ANSWER_WITHIN_S = 3.0
#: a process that has never answered counts as starting for this long: compiling kernels takes minutes
STARTING_S = 300.0


class NoAnswer(Exception):
    """The process does not answer, or refuses; the text says how."""


class NotListening(NoAnswer):
    """Nothing listens there, or behind the proxy that does: the process is starting, or gone."""


class Watched(NamedTuple):
    """A process, as ``tollgate status`` names it (``http``: the HTTP edge through its proxy), and the question to it.

    ``ask`` returns within about ``ANSWER_WITHIN_S`` or raises NoAnswer.
    """

    name: str
    ask: Callable[[], None]


def watched(settings: Settings) -> list[Watched]:
    """Every process of this stack that can be asked something."""
    return [
        # read again: a mock broker chooses its address when it starts
        Watched("kafka", lambda: ask_kafka(load_settings(settings.home).kafka)),
        Watched("redis", lambda: ask_redis(settings.redis_address)),
        Watched("http", lambda: ask_http(f"{settings.http}/healthz")),
        Watched("mlflow", lambda: ask_http(f"{settings.mlflow}/health")),
        *(
            Watched(name, _metrics_of(settings.metrics_port(name)))
            for name in scraped(settings)
            if name != "oncall"
        ),
    ]


def _metrics_of(port: int) -> Callable[[], None]:
    return lambda: ask_http(f"http://127.0.0.1:{port}/metrics")


def ask_kafka(address: str) -> None:
    """Raises: NoAnswer."""
    # a new client for each question: librdkafka forgets every broker when the only one says, while it stops, that there is none
    try:
        new_admin(address).list_topics(timeout=ANSWER_WITHIN_S)
    except KafkaException as error:
        raise NoAnswer(error.args[0].str()) from error


def ask_redis(address: str) -> None:
    """Raises: NoAnswer."""
    client = RespClient(address, timeout_s=ANSWER_WITHIN_S)
    try:
        client.call([("PING",)])
    except StoreUnavailable as error:
        raise NoAnswer(str(error)) from error
    finally:
        client.close()


def ask_http(url: str) -> None:
    """Raises: NoAnswer: no answer with a status below 500."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            kind = NotListening if error.code == HTTPStatus.SERVICE_UNAVAILABLE else NoAnswer
            raise kind(f"status {error.code}") from error
    except urllib.error.URLError as error:
        kind = NotListening if isinstance(error.reason, ConnectionRefusedError) else NoAnswer
        raise kind(str(error.reason)) from error
    except (OSError, ValueError) as error:
        raise NoAnswer(str(error)) from error


def unanswered(processes: Sequence[Watched]) -> dict[str, NoAnswer]:
    """Those that do not answer, asked all at once: takes about ``ANSWER_WITHIN_S`` if one is silent."""
    with ThreadPoolExecutor(max(1, len(processes))) as pool:
        found = pool.map(_answer, processes)
    return {error[0]: error[1] for error in found if error is not None}


def _answer(process: Watched) -> tuple[str, NoAnswer] | None:
    try:
        process.ask()
    except NoAnswer as error:
        return process.name, error
    return None
