"""The Ray Serve deployment of the stream worker: its replicas share the partitions of `features` as one consumer group."""

from __future__ import annotations

import logging
import threading

from prometheus_client import start_http_server
from ray import serve

from features.store.redis_client import RespClient
from models.bundle.content import MODEL
from services.scoring.model.live import LiveModel
from services.scoring.ray.closing import no_inner_server
from services.scoring.ray.readiness import not_warm
from services.scoring.ray.replica_names import take_name
from services.scoring.stream.worker import StreamScorer
from streams.log.other_catalogues import LOOK_WITHIN_S, Layouts, stored_in
from streams.log.rollout_feed import newest_rollout
from streams.runtime.process import log_json_lines
from streams.runtime.settings import Settings, load_settings

logger = logging.getLogger(__name__)

PREFIX = "scoring-stream"
#: each replica starts loading a new bundle this much after the one before; the edge's replica loads in between (``http.wiring``)
LOAD_AFTER_S = 4.0
#: for the assignment and the bundle: usually 2 to 5 s, half a minute more where kernels are compiled for the first time
WARM_WITHIN_S, ROLLOUTS_WITHIN_S = 45.0, 10.0


class ReplicaUnhealthy(Exception):
    """The worker of this replica has ended; Serve replaces the replica."""


@serve.deployment(
    name=PREFIX,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=5,
)
class StreamScoring:
    """One replica: a worker thread, its bundle, its metrics. It serves no requests."""

    def __init__(self, home: str) -> None:
        no_inner_server()
        settings = load_settings(home)
        self._name = take_name(settings.run_dir, PREFIX, settings.stream_replicas)
        log_json_lines(self._name.name)
        start_http_server(settings.metrics_port(self._name.name), addr="127.0.0.1")
        self._stop = threading.Event()
        # replicas load one after the other, because loading takes a core
        self._live = LiveModel(settings, self._stop, after_s=LOAD_AFTER_S * self._name.index)
        layouts = Layouts(stored_in(RespClient(settings.redis_address, LOOK_WITHIN_S)))
        self._worker = StreamScorer(settings, self._name.name, self._live, layouts, self._stop)
        self._worker.start()
        # Serve counts the replica as started when this returns; after WARM_WITHIN_S it returns even if not warm, since the worker runs
        missing = not_warm(
            self._worker.assigned, self._live.settled, lambda: _rolled_out(settings), WARM_WITHIN_S
        )
        if missing is not None:
            logger.warning("%s is not warm after %.0f s: %s", self._name.name, WARM_WITHIN_S, missing)

    def check_health(self) -> None:
        """Called by Serve.

        Raises:
            ReplicaUnhealthy: the worker ended.
        """
        if not self._worker.alive:
            raise ReplicaUnhealthy(f"the worker of {self._name.name} has ended")

    def __del__(self) -> None:
        # otherwise the consumer thread would outlive a SIGTERM to the driver
        self._stop.set()
        self._worker.join(timeout_s=4)

    async def version(self) -> str:
        """The bundle version that this replica serves; "none" before the first."""
        return self._live.version


def _rolled_out(settings: Settings) -> bool:
    """Raises: RolloutsUnreachable."""
    return newest_rollout(settings, MODEL, timeout_s=ROLLOUTS_WITHIN_S) is not None
