"""All topics in one table: partitions, retention, cleanup policy.

``ensure_topics`` creates missing topics at start-up. It refuses a different partition count, because
``murmur2(card_id) % partitions`` decides which worker is the only writer of a card.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from features.catalogue import LATE_BOUND_S, LONGEST_LOOK_BACK_S
from features.transaction import MAX_AHEAD_MS
from streams.runtime.kafka.clients import new_admin

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: allowance for clock differences between brokers and producers, and for records waiting in a producer
CLOCK_SLACK_MS = HOUR_MS
#: retention of the topics that state is rebuilt from, in whole days: the longest look-back of a feature, plus the lateness
#: bound, plus the time by which an event may be ahead of its append
STATE_LOG_MS = (
    -(-(1000 * (LONGEST_LOOK_BACK_S + LATE_BOUND_S) + MAX_AHEAD_MS + CLOCK_SLACK_MS) // DAY_MS) * DAY_MS
)


@dataclass(frozen=True)
class Topic:
    """One topic. ``partitions`` 0 means the stack's partition count (all card-keyed topics share it)."""

    name: str
    retention_ms: int
    partitions: int = 0
    compacted: bool = False
    append_time: bool = False
    extra: dict[str, str] = field(default_factory=dict)


#: latency is measured from the append on TRANSACTIONS to the append on DECISIONS, so the broker stamps both
TRANSACTIONS = Topic("transactions", STATE_LOG_MS, append_time=True)
LABELS = Topic("labels", 90 * DAY_MS)
FEATURES = Topic("features", 7 * DAY_MS, append_time=True)
#: internal: effects of transactions and labels on merchants, devices, ips and customers; partitioned by entity
ENTITIES = Topic("entities", STATE_LOG_MS)
DECISIONS = Topic("decisions", 30 * DAY_MS, append_time=True)
OUTCOMES = Topic("outcomes", 90 * DAY_MS)
DRIFT = Topic("drift", 30 * DAY_MS, partitions=1)
RETRAINING = Topic("retraining", 90 * DAY_MS, partitions=1)
ROLLOUTS = Topic("rollouts", -1, partitions=1, compacted=True)
#: every answer of the rollout process and every change of who may do what, hash-chained, never compacted
AUDIT = Topic("audit", -1, partitions=1)
#: signed requests about a model (approve, reject, promote, rollback); the rollout process answers on AUDIT
ROLLOUT_REQUESTS = Topic("rollout-requests", 90 * DAY_MS, partitions=1)
#: internal: what a challenger in the shadow says beside the champion, one record a batch; read while the rollout is under way
SHADOW = Topic("shadow", 7 * DAY_MS, partitions=1, append_time=True)
#: internal: `tollgate up` writes to it to warm up a fresh broker
WARM_UP = Topic("warm-up", HOUR_MS, partitions=2)
DEAD_LETTERS = Topic("dead-letters", 90 * DAY_MS, partitions=1)
#: one note per dead letter that was replayed; the key is "partition/offset" on `dead-letters`
DEAD_LETTERS_REPLAYED = Topic("dead-letters-replayed", 90 * DAY_MS, partitions=1, compacted=True)

#: what was struck from the books by a person (`tollgate reconcile --repair`), with the reason
BOOKS = Topic("books", -1, partitions=1)

ALL = (
    TRANSACTIONS, LABELS, FEATURES, ENTITIES, DECISIONS, OUTCOMES,
    DRIFT, RETRAINING, ROLLOUTS, AUDIT, ROLLOUT_REQUESTS, SHADOW, WARM_UP, DEAD_LETTERS,
    DEAD_LETTERS_REPLAYED, BOOKS,
)  # fmt: skip


class TopicError(Exception):
    """A topic could not be created, or exists with a partition count other than the stack's."""


@dataclass(frozen=True)
class Copies:
    """How many brokers hold a record, and how many must have it before it is acknowledged."""

    replication_factor: int = 1
    min_in_sync: int = 1


ONE_BROKER = Copies()


def ensure_topics(
    bootstrap: str, partitions: int, copies: Copies = ONE_BROKER, *, timeout_s: float = 30.0
) -> None:
    """Create missing topics, with so many copies, and check the partition counts of the others.

    Raises:
        TopicError: the broker refused, or a topic has a different partition count.
    """
    admin = new_admin(bootstrap)
    existing = admin.list_topics(timeout=timeout_s).topics
    wanted = {topic.name: topic for topic in ALL}
    for name, topic in wanted.items():
        count = topic.partitions or partitions
        if name in existing and len(existing[name].partitions) != count:
            raise TopicError(
                f"topic {name} has {len(existing[name].partitions)} partitions and this stack wants {count}: "
                "cards would move to other writers; use another home or drain and recreate it"
            )
    absent = [_new_topic(topic, partitions, copies) for name, topic in wanted.items() if name not in existing]
    if not absent:
        return
    for name, future in admin.create_topics(absent, operation_timeout=timeout_s).items():
        try:
            future.result(timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise TopicError(f"topic {name} could not be created: {error}") from error


def _new_topic(topic: Topic, partitions: int, copies: Copies) -> NewTopic:
    config = {
        "retention.ms": str(topic.retention_ms), "min.insync.replicas": str(copies.min_in_sync), **topic.extra,
    }  # fmt: skip
    if topic.compacted:
        config["cleanup.policy"] = "compact"
    if topic.append_time:
        config["message.timestamp.type"] = "LogAppendTime"
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions or partitions,
        replication_factor=copies.replication_factor,
        config=config,
    )
