"""The scoring process: starts its own Ray on this machine and runs both Serve deployments until it is stopped.

Ray's processes end with it. It exits when Serve cannot keep a deployment up, and the supervisor restarts it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlparse

from services.scoring.ray.environment import AGENT_PORT, apply, haproxy_folder
from services.scoring.ray.leftovers import end_leftovers
from services.scoring.ray.placement import HTTP_REPLICAS, gpu_share, replica_resources
from streams.runtime.metrics import SERVE_REPLICAS
from streams.runtime.process import Process, start_process

logger = logging.getLogger(__name__)

#: an application may be unhealthy this long (a replica restarts) before the whole process exits
UNHEALTHY_FOR_S = 60.0
#: asking Serve for its status costs 25 ms of CPU, here and in its controller
LOOK_EVERY_S = 5.0
BROKEN = {"DEPLOY_FAILED", "UNHEALTHY"}


def run(process: Process) -> None:
    """Run until stopped, or until an application stays broken.

    Raises:
        SystemExit: an application was broken for longer than UNHEALTHY_FOR_S.
    """
    settings = process.settings
    apply(settings)
    end_leftovers(haproxy_folder(settings))
    # imported here: Ray Serve reads the environment set above at import
    import ray
    from ray import serve

    from services.scoring.ray.closing import agent_listens_on, close_folders
    from services.scoring.ray.http_deployment import HttpScoring
    from services.scoring.ray.stream_deployment import PREFIX, StreamScoring

    agent_listens_on(settings.port_base + AGENT_PORT)
    ray.init(
        address="local",
        namespace="tollgate",
        num_cpus=max(2, os.cpu_count() or 1),
        # None: Ray counts the machine's GPUs
        num_gpus=settings.gpus,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=str(settings.ray_dir),
        _node_ip_address="127.0.0.1",
        log_to_driver=True,
        logging_level=logging.WARNING,
        _system_config={"metrics_report_interval_ms": 30_000, "enable_metrics_collection": False},
    )
    try:
        if process.stop.is_set():
            return
        address = urlparse(settings.http)
        serve.start(http_options={"host": address.hostname, "port": address.port, "location": "HeadOnly"})
        # Ray's decorator hides the deployments' types from the checker
        stream: Any = StreamScoring
        http: Any = HttpScoring
        gpus = int(ray.cluster_resources().get("GPU", 0))
        share = gpu_share(gpus, settings.stream_replicas + HTTP_REPLICAS)
        logger.info("%d GPUs; each replica asks for %.3g of one", gpus, share)
        options = {"ray_actor_options": replica_resources(share)}
        stream = stream.options(num_replicas=settings.stream_replicas, **options)
        http = http.options(num_replicas=HTTP_REPLICAS, **options)
        serve.run(stream.bind(settings.home), name=PREFIX, route_prefix=None)
        serve.run(http.bind(settings.home), name="scoring-http", route_prefix="/")
        close_folders(settings.ray_dir)
        logger.info("serving on %s", settings.http)
        _watch(process, lambda: dict(serve.status().applications))
    finally:
        # Serve's own shutdown takes up to 30 s and has nothing to save: the next process resumes from Kafka
        ray.shutdown()


def _watch(process: Process, applications: Callable[[], Mapping[str, Any]]) -> None:
    """Show the replicas as metrics and wait for stop; exit with an error when an application stays broken for longer than a replica's
    restart takes.
    """
    broken_since: float | None = None
    while not process.stop.wait(LOOK_EVERY_S):
        found = applications()
        show_replicas(found)
        states = {name: str(app.status) for name, app in found.items()}
        if not any(word in state for state in states.values() for word in BROKEN):
            broken_since = None
        elif broken_since is None:
            broken_since = time.monotonic()
            logger.warning("unhealthy Serve applications: %s", states)
        elif time.monotonic() - broken_since > UNHEALTHY_FOR_S:
            raise SystemExit(f"Serve could not restart the deployments: {states}")


def show_replicas(applications: Mapping[str, Any]) -> None:
    """Set the metric from Serve's applications by name; a state that no replica is in any more has 0."""
    for sample in next(iter(SERVE_REPLICAS.collect())).samples:
        SERVE_REPLICAS.labels(**sample.labels).set(0)
    for application in applications.values():
        for name, deployment in application.deployments.items():
            for state, count in deployment.replica_states.items():
                SERVE_REPLICAS.labels(name, str(getattr(state, "value", state))).set(count)


if __name__ == "__main__":
    run(start_process("scoring"))
