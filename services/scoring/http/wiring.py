"""Creates and connects the parts of one HTTP edge process; knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial

from confluent_kafka import KafkaException

from models.bundle.content import MODEL
from services.scoring.arms.shadow import Shadow
from services.scoring.arms.shadow_topic import ShadowTopic
from services.scoring.edge.decide_round import warm_kernels
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import limits_from_environment
from services.scoring.edge.publishing.publisher import Publisher
from services.scoring.edge.store import EdgeStore
from services.scoring.model.live import LiveModel
from services.scoring.model.readiness import bundle_missing
from streams.log.other_catalogues import announcement
from streams.log.rollouts.feed import is_rolled_out
from streams.runtime.edge_keys import EdgeKeys
from streams.runtime.process import quiet_collector
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
BROKER_WITHIN_S = 5.0
#: delay before loading a new bundle: the stream replica loads first (0.2 to 0.6 s), or both cores of a small machine would be busy
LOAD_AFTER_S = 2.0


class Parts:
    """The connections and threads of one edge process: store, publisher, live model."""

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        self._settings = settings
        self._name = name
        self._stop = stop

    async def open(self) -> Edge:
        """Connect, and return the edge. If Redis or Kafka is unavailable, this returns and connects in the background."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._store = EdgeStore(settings.redis_address, [announcement()])
        self._bulk = EdgeStore(settings.redis_address)
        await asyncio.gather(self._store.start(), self._bulk.start())
        self._publisher = Publisher(settings.kafka, self._name, loop)
        try:
            await loop.run_in_executor(None, partial(self._publisher.warm, BROKER_WITHIN_S))
        except KafkaException as error:
            logger.warning("the broker does not answer yet: %s", error)
        warm_kernels()
        live = LiveModel(settings, self._stop, after_s=LOAD_AFTER_S)
        rolled_out = partial(is_rolled_out, settings, MODEL)
        missing = await loop.run_in_executor(None, bundle_missing, live.settled, rolled_out)
        if missing is not None:
            logger.warning("%s decides without a model: %s", self._name, missing)
        # objects alive now stay alive: exclude them from garbage collection, whose full runs are pauses
        quiet_collector()
        limits = limits_from_environment()
        keys = EdgeKeys(settings.edge_keys_path)
        self._shadow = Shadow(ShadowTopic(settings.kafka, self._name))
        return Edge(
            settings, live, self._store, self._publisher, limits, keys, bulk=self._bulk, shadow=self._shadow
        )

    async def close(self) -> None:
        self._stop.set()
        self._publisher.send_held()
        await asyncio.gather(self._store.close(), self._bulk.close())
        await asyncio.get_running_loop().run_in_executor(None, self._publisher.close)
        await asyncio.get_running_loop().run_in_executor(None, self._shadow.close, 1.0)
