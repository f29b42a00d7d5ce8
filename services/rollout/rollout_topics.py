"""The rollout process's topics: the newest records, the answered requests, and writing the next record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from services.rollout.answers import HEADER_REQUEST_ID, Answer, header, headers
from streams.contracts.json_encoding import encode
from streams.contracts.rollout import RolloutRecord
from streams.log.rollout_feed import parse_rollout, read_all
from streams.log.topics import ROLLOUTS, ROLLOUTS_AUDIT
from streams.runtime.kafka.clients import flush
from streams.runtime.settings import Settings

FLUSH_S = 30.0
#: request ids kept to recognise repeated requests; people make them, so this covers years
REMEMBERED = 10_000


@dataclass
class Ledger:
    """The newest record per model and the ids of answered requests. ``recover`` reads both from Kafka after a restart."""

    producer: Producer
    newest: dict[str, RolloutRecord] = field(default_factory=dict)
    answered: dict[str, None] = field(default_factory=dict)

    def recover(self, settings: Settings, *, timeout_s: float = 30.0) -> None:
        """Read both topics to their ends.

        If a record on `rollouts` has no copy on `rollouts-audit` (the process died between the two writes), it is copied now.

        Raises:
            RolloutsUnreachable: the topics could not be read in time.
        """
        for message in read_all(settings, ROLLOUTS_AUDIT.name, timeout_s=timeout_s):
            request_id = header(message, HEADER_REQUEST_ID)
            if request_id:
                self._remember(request_id)
        for message in read_all(settings, ROLLOUTS.name, timeout_s=timeout_s):
            record = parse_rollout(message)
            if record is None:
                continue
            if record.model not in self.newest or record.sequence >= self.newest[record.model].sequence:
                self.newest[record.model] = record
            request_id = header(message, HEADER_REQUEST_ID)
            if request_id and request_id not in self.answered:
                self._audit(record, request_id, True)
        flush(self.producer, FLUSH_S)

    def write(self, record: RolloutRecord, request_id: str) -> None:
        """Write a record to `rollouts`, then its copy to `rollouts-audit`; both are acknowledged on return.

        Raises:
            DeliveryError: one was not acknowledged in time.
        """
        self.producer.produce(
            ROLLOUTS.name, encode(record), record.model.encode(), headers=headers(request_id, True)
        )
        flush(self.producer, FLUSH_S)
        self.newest[record.model] = record
        self._audit(record, request_id, True)
        flush(self.producer, FLUSH_S)

    def write_answer(self, answer: Answer, *, accepted: bool) -> None:
        """Answer a request that did not change what is served.

        Raises:
            DeliveryError: the answer was not acknowledged in time.
        """
        self._audit(answer, answer.request_id, accepted)
        flush(self.producer, FLUSH_S)

    def _audit(self, event: Any, request_id: str, accepted: bool) -> None:
        self.producer.produce(
            ROLLOUTS_AUDIT.name, encode(event), event.model.encode(), headers=headers(request_id, accepted)
        )
        self._remember(request_id)

    def _remember(self, request_id: str) -> None:
        self.answered[request_id] = None
        while len(self.answered) > REMEMBERED:
            del self.answered[next(iter(self.answered))]
