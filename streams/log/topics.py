"""Every topic, declared once: partitions, retention, cleanup, and who may write it.

``ensure_topics`` creates what is absent at start-up and refuses a partition count that differs, because a
card's one writer follows from ``murmur2(card_id) % partitions``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from features.catalogue import LATE_BOUND_S, LONGEST_LOOK_BACK_S
from features.transaction import MAX_AHEAD_MS

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: clocks of brokers and producers, and a record that waited in a producer
CLOCK_SLACK_MS = HOUR_MS
#: of what state is made from: as far as the longest entry looks back from a payment that comes as late as is stated, to events
#: that were appended a day before their time; in whole days
STATE_LOG_MS = (
    -(-(1000 * (LONGEST_LOOK_BACK_S + LATE_BOUND_S) + MAX_AHEAD_MS + CLOCK_SLACK_MS) // DAY_MS) * DAY_MS
)


@dataclass(frozen=True)
class Topic:
    """One topic. ``partitions`` 0 means the stack's own count (all card-keyed topics share it)."""

    name: str
    retention_ms: int
    partitions: int = 0
    compacted: bool = False
    append_time: bool = False
    extra: dict[str, str] = field(default_factory=dict)


#: latency is measured from the broker's append on TRANSACTIONS to its append on DECISIONS, so both are stamped by it
TRANSACTIONS = Topic("transactions", STATE_LOG_MS, append_time=True)
LABELS = Topic("labels", 90 * DAY_MS)
FEATURES = Topic("features", 7 * DAY_MS, append_time=True)
#: internal: what transactions and labels mean for merchants, devices, ips, customers; repartitioned by entity
ENTITIES = Topic("entities", STATE_LOG_MS)
DECISIONS = Topic("decisions", 30 * DAY_MS, append_time=True)
OUTCOMES = Topic("outcomes", 90 * DAY_MS)
DRIFT = Topic("drift", 30 * DAY_MS, partitions=1)
RETRAINING = Topic("retraining", 90 * DAY_MS, partitions=1)
ROLLOUTS = Topic("rollouts", -1, partitions=1, compacted=True)
#: full copy of every rollout record, never compacted: the audit trail
ROLLOUTS_AUDIT = Topic("rollouts-audit", -1, partitions=1)
#: internal: what a person asked of a model (approve, reject, rollback); the rollout process answers on ROLLOUTS
ROLLOUT_REQUESTS = Topic("rollout-requests", 90 * DAY_MS, partitions=1)
#: internal: exercises a fresh broker before traffic comes
WARM_UP = Topic("warm-up", HOUR_MS, partitions=2)
DEAD_LETTERS = Topic("dead-letters", 90 * DAY_MS, partitions=1)
#: one note per dead letter that a person sent again, key "partition/offset" on `dead-letters`
DEAD_LETTERS_REPLAYED = Topic("dead-letters-replayed", 90 * DAY_MS, partitions=1, compacted=True)

ALL = (
    TRANSACTIONS, LABELS, FEATURES, ENTITIES, DECISIONS, OUTCOMES,
    DRIFT, RETRAINING, ROLLOUTS, ROLLOUTS_AUDIT, ROLLOUT_REQUESTS, WARM_UP, DEAD_LETTERS,
    DEAD_LETTERS_REPLAYED,
)  # fmt: skip


class TopicError(Exception):
    """A topic could not be created, or exists with another partition count than the stack's."""


def ensure_topics(bootstrap: str, partitions: int, *, timeout_s: float = 30.0) -> None:
    """Create absent topics and check the others.

    Raises:
        TopicError: the broker refused, or a topic has another partition count.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    existing = admin.list_topics(timeout=timeout_s).topics
    wanted = {topic.name: topic for topic in ALL}
    for name, topic in wanted.items():
        count = topic.partitions or partitions
        if name in existing and len(existing[name].partitions) != count:
            raise TopicError(
                f"topic {name} has {len(existing[name].partitions)} partitions and this stack wants {count}: "
                "cards would move to other writers; use another home or drain and recreate it"
            )
    absent = [_new_topic(topic, partitions) for name, topic in wanted.items() if name not in existing]
    if not absent:
        return
    for name, future in admin.create_topics(absent, operation_timeout=timeout_s).items():
        try:
            future.result(timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise TopicError(f"topic {name} could not be created: {error}") from error


def _new_topic(topic: Topic, partitions: int) -> NewTopic:
    config = {"retention.ms": str(topic.retention_ms), **topic.extra}
    if topic.compacted:
        config["cleanup.policy"] = "compact"
    if topic.append_time:
        config["message.timestamp.type"] = "LogAppendTime"
    return NewTopic(
        topic.name, num_partitions=topic.partitions or partitions, replication_factor=1, config=config
    )
