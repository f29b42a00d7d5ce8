"""The scoring process: starts a Ray of its own on this machine and runs both Serve deployments until told to stop.

Ray's processes end with this one. It exits when Serve cannot keep a deployment up, and the supervisor starts it again.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any
from urllib.parse import urlparse

# read by Ray Serve at import: ingress through HAProxy, and settings for throughput (design, Scoring)
os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
# Ray runs its workers at niceness 15: behind everything else on the machine, which a deadline does not bear
os.environ.setdefault("RAY_worker_niceness", "0")
# the cluster listens on loopback only and ends with this process
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from services.scoring.stream_deployment import PREFIX as STREAM
from services.scoring.stream_deployment import StreamScoring
from streams.process import Process, start_process

logger = logging.getLogger(__name__)

HTTP = "scoring-http"
#: an application may be unhealthy this long (a replica restarts) before the whole process starts over
UNHEALTHY_FOR_S = 60.0
BROKEN = {ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY}


def _bind(deployment: Any, home: str) -> Any:
    """The deployment with its only argument; Ray's decorator hides its type from the checker."""
    return deployment.bind(home)


def run(process: Process) -> None:
    """Run until asked to stop, or until an application stays broken."""
    settings = process.settings
    from services.scoring.http_deployment import HttpScoring

    ray.init(
        address="local",
        namespace="tollgate",
        num_cpus=max(2, os.cpu_count() or 1),
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=str(settings.ray_dir),
        log_to_driver=True,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
        _system_config={"metrics_report_interval_ms": 30_000},
    )
    address = urlparse(settings.http)
    serve.start(http_options={"host": address.hostname, "port": address.port, "location": "HeadOnly"})
    serve.run(_bind(StreamScoring, settings.home), name=STREAM, route_prefix=None)
    serve.run(_bind(HttpScoring, settings.home), name=HTTP, route_prefix="/")
    logger.info("serving on %s", settings.http)
    try:
        _watch(process)
    finally:
        # Serve's own orderly shutdown takes up to 30 s and has nothing to save: the log says where to go on
        ray.shutdown()


def _watch(process: Process) -> None:
    """Until stop: end with an error when an application stays broken for longer than a replica's restart takes."""
    broken_since: float | None = None
    while not process.stop.wait(2.0):
        states = {name: app.status for name, app in serve.status().applications.items()}
        if not BROKEN & set(states.values()):
            broken_since = None
        elif broken_since is None:
            broken_since = time.monotonic()
            logger.warning("applications: %s", states)
        elif time.monotonic() - broken_since > UNHEALTHY_FOR_S:
            raise SystemExit(f"Serve could not bring the deployments up again: {states}")


if __name__ == "__main__":
    run(start_process("scoring", metrics=False))
