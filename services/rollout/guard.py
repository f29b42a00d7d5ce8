"""Watches `rollouts`: when anything but our newest record is its last one, the newest is written again.

Replicas refuse what is not signed or is older. But compaction keeps the last record of a key, whoever wrote it, so a replica
that starts later would miss the newest.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from models.bundle.content import MODEL
from services.rollout.ledger import Ledger
from streams.log.topics import ROLLOUTS
from streams.runtime.kafka.broker_loss import remembering
from streams.runtime.kafka.clients import new_consumer

logger = logging.getLogger(__name__)
#: pause between two restorations, in seconds: somebody who writes all the time must not make us write as often
PAUSE_S = 1.0
#: messages looked at in one call
MAX_LOOKED = 1_000


class Guard:
    """Follows the topic from its start; call ``look`` often."""

    def __init__(self, kafka: str, ledger: Ledger) -> None:
        self._ledger = ledger
        more: dict[str, Any] = {"enable.partition.eof": True, **remembering()}
        self._consumer: Consumer = new_consumer(kafka, f"rollouts-guard-{uuid.uuid4().hex[:8]}", **more)
        self._consumer.assign([TopicPartition(ROLLOUTS.name, 0, 0)])
        self._last: bytes | None = None
        #: whether the end of the topic was reached, and whether it was not compared since a record was read
        self._at_end, self._changed = False, True
        self._restored_s = float("-inf")

    def look(self, now_s: float) -> None:
        """Read what is new; restore if it ends with another record. ``now_s``: of a monotonic clock.

        Raises:
            DeliveryError: the record was not acknowledged in time.
        """
        for _ in range(MAX_LOOKED):
            message = self._consumer.poll(0)
            if message is None:
                break
            if message.error() is None:
                self._last, self._changed, self._at_end = message.value(), True, False
            elif message.error().code() == KafkaError._PARTITION_EOF:
                self._at_end = True
        if not self._at_end or not self._changed:
            return
        if MODEL not in self._ledger.newest or self._ledger.is_newest(MODEL, self._last):
            self._changed = False
        elif now_s - self._restored_s >= PAUSE_S:
            self._restored_s, self._changed = now_s, False
            logger.error("rollouts does not end with our newest record of %s: it is written again", MODEL)
            self._ledger.restore(MODEL)

    def close(self) -> None:
        self._consumer.close()
