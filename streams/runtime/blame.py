"""Whether an error is the fault of the records that were handled, or of what the worker needs: the store, the broker, the disk."""

from __future__ import annotations

from confluent_kafka import KafkaException

from features.store.partition_lease import ChunkOutOfOrder, LeaseLost, StateRegressed
from features.store.profiles.batch import StoreRefused
from features.store.redis_client import StoreUnavailable
from streams.runtime.kafka.broker_loss import BrokersForgotten
from streams.runtime.kafka.clients import OF_THE_RECORD, DeliveryError
from streams.runtime.kafka.log_reader import LedgerUnreachable


class SessionEnded(Exception):
    """A worker ends its session on purpose; a new one goes on from its positions."""


#: what a worker needs, and did not have
_NEEDED = (
    StoreUnavailable, StoreRefused, LeaseLost, ChunkOutOfOrder, StateRegressed, DeliveryError, KafkaException, LedgerUnreachable,
    BrokersForgotten, SessionEnded, OSError,
)  # fmt: skip


def blameless(error: BaseException) -> bool:
    """Whether the records are not to blame for an error, nor for what it was raised from."""
    if isinstance(error, KafkaException):
        return error.args[0].code() not in OF_THE_RECORD
    if isinstance(error, DeliveryError):
        return not error.of_the_record
    return isinstance(error, _NEEDED) or (error.__cause__ is not None and blameless(error.__cause__))
