"""The HTTP edge as a Ray Serve deployment: one replica, its parts wired here and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from fastapi import FastAPI
from prometheus_client import start_http_server
from ray import serve

from services.scoring.edge import Edge
from services.scoring.edge_compute import warm_kernels
from services.scoring.edge_limits import limits_from_environment
from services.scoring.edge_publish import Publisher
from services.scoring.edge_store import EdgeStore
from services.scoring.http_app import build_app
from services.scoring.live import LiveModel
from services.scoring.replica_names import take_name
from streams.process import log_json_lines
from streams.settings import Settings, load_settings

logger = logging.getLogger(__name__)
NAME = "scoring-http"
BROKER_WITHIN_S = 5.0


class Parts:
    """Everything that one edge process holds open: store, publisher, live model."""

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        self._settings = settings
        self._name = name
        self._stop = stop

    async def open(self) -> Edge:
        """Connect, and return the edge. A part that is away is waited for in the background, not here."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._store = EdgeStore(settings.redis_address)
        await self._store.start()
        self._publisher = Publisher(settings.kafka, self._name, loop)
        try:
            await loop.run_in_executor(None, partial(self._publisher.warm, BROKER_WITHIN_S))
        except KafkaException as error:
            logger.warning("the broker does not answer yet: %s", error)
        warm_kernels()
        live = LiveModel(settings, self._stop)
        # what is there now stays: the collector need not look at it again, and a full collection is a pause
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        return Edge(settings, live, self._store, self._publisher, limits_from_environment())

    async def close(self) -> None:
        self._stop.set()
        await self._store.close()
        await asyncio.get_running_loop().run_in_executor(None, self._publisher.close)


@serve.deployment(
    name=NAME,
    num_replicas=1,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0.1},
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress()
class HttpScoring:
    """One replica of the edge. ``home``: folder of the stack."""

    # Serve awaits an asynchronous constructor
    async def __init__(self, home: str) -> None:  # type: ignore[misc]
        settings = load_settings(home)
        self._name = take_name(settings.run_dir, NAME)
        log_json_lines(self._name.name)
        start_http_server(settings.metrics_port(self._name.name), addr="127.0.0.1")
        self._parts = Parts(settings, self._name.name, threading.Event())
        self._edge = await self._parts.open()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._edge)

    def check_health(self) -> None:
        """Serve restarts a replica whose event loop does not come to this; parts that are away mend themselves."""

    async def __del__(self) -> None:
        parts: Any = getattr(self, "_parts", None)
        if parts is not None:
            await parts.close()
