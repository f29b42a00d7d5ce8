"""The Ray Serve deployment of the stream worker: its replicas share the partitions of `features` as one consumer group."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from functools import partial

from prometheus_client import start_http_server
from ray import serve

from features.store.redis_client import RespClient
from models.bundle.content import MODEL
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
from services.scoring.arms.shadow_topic import ShadowTopic
from services.scoring.decision.decider import Decider
from services.scoring.decision.exploring import explorer_of
from services.scoring.model.live import LiveModel
from services.scoring.model.readiness import bundle_missing
from services.scoring.ray.closing import no_inner_server
from services.scoring.ray.replica_names import take_name
from services.scoring.stream.worker import StreamScorer
from streams.log.other_catalogues import LOOK_WITHIN_S, Layouts, stored_in
from streams.log.rollouts.feed import is_rolled_out
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.process import log_json_lines
from streams.runtime.settings import load_settings

logger = logging.getLogger(__name__)

PREFIX = "scoring-stream"
#: each replica starts loading a new bundle this much after the one before; the edge's replica loads in between (``http.wiring``)
LOAD_AFTER_S = 4.0
#: for the assignment: usually 2 to 5 s
ASSIGNED_WITHIN_S = 30.0


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
        heartbeat = Heartbeat()
        heartbeat.begin(settings.run_dir, self._name.name)
        start_http_server(settings.metrics_port(self._name.name), addr="127.0.0.1")
        self._stop = threading.Event()
        # replicas load one after the other, because loading takes a core
        self._live = LiveModel(settings, self._stop, after_s=LOAD_AFTER_S * self._name.index)
        layouts = Layouts(stored_in(RespClient(settings.redis_address, LOOK_WITHIN_S)))
        self._shadow = Shadow(ShadowTopic(settings.kafka, self._name.name))
        decider = ArmsDecider(Decider(explorer=explorer_of(settings, time.time())), shadow=self._shadow)
        self._worker = StreamScorer(
            settings, self._name.name, self._live, layouts, self._stop, decider, heartbeat=heartbeat
        )
        missing = bundle_missing(self._live.settled, partial(is_rolled_out, settings, MODEL))
        if missing is not None:
            logger.warning("%s decides without a model: %s", self._name.name, missing)
        self._worker.start()
        # after SIGTERM to this replica alone Ray ends the process without calling its destructor
        atexit.register(self._leave)
        # Serve counts the replica as started when this returns; after ASSIGNED_WITHIN_S it returns anyway, since the worker runs
        if not self._worker.assigned.wait(ASSIGNED_WITHIN_S):
            logger.warning("%s has no partitions after %.0f s", self._name.name, ASSIGNED_WITHIN_S)

    def check_health(self) -> None:
        """Called by Serve.

        Raises:
            ReplicaUnhealthy: the worker ended.
        """
        if not self._worker.alive:
            raise ReplicaUnhealthy(f"the worker of {self._name.name} has ended")

    def __del__(self) -> None:
        # otherwise the consumer thread would outlive a SIGTERM to the driver
        self._leave()

    def _leave(self) -> None:
        """Decide what was fetched, then leave the group, so that another replica has the partitions at once."""
        self._stop.set()
        self._worker.join(timeout_s=4)
        self._shadow.close(within_s=1)

    async def version(self) -> str:
        """The bundle version that this replica serves; "none" before the first."""
        return self._live.version
