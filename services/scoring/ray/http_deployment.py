"""The HTTP edge as a Ray Serve deployment: one replica."""

from __future__ import annotations

import threading
from typing import Any

from fastapi import FastAPI
from prometheus_client import start_http_server
from ray import serve

from services.scoring.http.app import build_app
from services.scoring.http.direct import serve_directly
from services.scoring.http.wiring import Parts
from services.scoring.ray.closing import no_inner_server
from services.scoring.ray.replica_names import take_name
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.process import log_json_lines
from streams.runtime.settings import acting_as, load_settings

NAME = "scoring-http"


@serve.deployment(
    name=NAME,
    # above what the edge ever admits: the edge refuses at once, while Serve would queue requests before their deadline starts
    max_ongoing_requests=10_000,
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=5,
    # a log line per request costs more than the decision; a metric counts requests
    logging_config={"enable_access_log": False},
)
@serve.ingress()
class HttpScoring:
    """One replica of the edge. ``home``: folder of the stack."""

    # asynchronous, because opening the parts is; Serve awaits it
    async def __init__(self, home: str) -> None:  # type: ignore[misc]
        no_inner_server()
        # both kinds of replicas inherit the environment of one process, and have rights of their own
        settings = acting_as(load_settings(home), "edge")
        self._name = take_name(settings.run_dir, NAME, 1)
        log_json_lines(self._name.name)
        Heartbeat().begin(settings.run_dir, self._name.name)
        start_http_server(settings.metrics_port(self._name.name), addr="127.0.0.1")
        self._parts = Parts(settings, self._name.name, threading.Event())
        self._edge = await self._parts.open()

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = build_app(self._edge)
        serve_directly(app.scoring)
        return app

    def check_health(self) -> None:
        """Empty: Serve restarts a replica whose event loop does not answer. Redis and Kafka connections recover by themselves."""

    async def __del__(self) -> None:
        parts: Any = getattr(self, "_parts", None)
        if parts is not None:
            await parts.close()
