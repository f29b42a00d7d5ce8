"""The producer of `shadow`. A record that is lost does no harm, so nothing waits for the broker."""

from __future__ import annotations

import logging

from confluent_kafka import Producer

from streams.contracts.shadow import ShadowBatch, encode_shadow
from streams.log.topics import SHADOW
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import new_reporting_producer
from streams.runtime.log_throttle import THROTTLED
from streams.runtime.metrics import CHALLENGER_ROWS

logger = logging.getLogger(f"{THROTTLED}.shadow")
#: records that wait for the broker, and how long
MAX_QUEUED, MESSAGE_TIMEOUT_MS = 1_000, 10_000


class ShadowTopic:
    """Sends records to `shadow`; connects with the first one. Used by one thread."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._bootstrap, self._client_id = bootstrap, client_id
        self._producer: Producer | None = None

    def publish(self, batch: ShadowBatch) -> None:
        """Hand a record to the producer; a full one drops it."""
        if self._producer is None:
            self._producer = self._connected()
        try:
            self._producer.produce(SHADOW.name, key=batch.run, value=encode_shadow(batch), partition=0)
        except BufferError:
            CHALLENGER_ROWS.labels("shadow", "unsent").inc(len(batch.cards))
            logger.error("the broker is too slow for the records of %s: one was dropped", SHADOW.name)

    def serve(self) -> None:
        """Let the producer work; one that has forgotten its brokers is replaced."""
        try:
            if self._producer is not None:
                self._producer.poll(0)
        except BrokersForgotten as error:
            logger.error("the producer of %s is replaced: %s", SHADOW.name, error)
            self._producer = self._connected()

    def _connected(self) -> Producer:
        return new_reporting_producer(
            self._bootstrap,
            f"{self._client_id}-shadow",
            **{"message.timeout.ms": MESSAGE_TIMEOUT_MS, "queue.buffering.max.messages": MAX_QUEUED},
            **remembering(),
        )
