"""Who may do what on the Kafka and the Redis of a secured stack, in one table: Kafka's access control lists and Redis' users are made of it.

Each process has what it needs and no more, so that a faulty or taken-over one cannot write what only another may say. Everybody may see
which topics there are and where they end. ``infra/decisions/0033`` shows the table; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.log.topics import (
    ALL,
    AUDIT,
    BOOKS,
    DEAD_LETTERS,
    DEAD_LETTERS_REPLAYED,
    DECISIONS,
    DRIFT,
    ENTITIES,
    FEATURES,
    LABELS,
    OUTCOMES,
    RETRAINING,
    ROLLOUT_REQUESTS,
    ROLLOUTS,
    SHADOW,
    TRANSACTIONS,
    WARM_UP,
    Topic,
)
from streams.runtime.secured import OPERATOR, REBUILD

#: consumer groups that exist as long as their one reader and commit nothing
READERS = "ledger-*"
FOLLOWERS = "rollouts-reader-*"

#: keys of Redis. The tags in braces are a topic's first letter and a partition (``features.store.keys``)
STATE = ("{t*", "{e*", "tollgate:state:*")
INDEX = ("tollgate:index:*", "tollgate:decisions:*")
CATALOGUES = ("tollgate:catalogue:*",)
ERAS = ("tollgate:log:eras",)

#: Redis' commands by what they do; a principal has those of its keys
READ_COMMANDS = ("exists", "get", "getrange", "hget", "hgetall", "mget", "smembers", "ttl", "zrange")
WRITE_COMMANDS = (
    "del", "expire", "expireat", "hincrby", "hset", "incr", "mset", "sadd", "set", "setrange", "srem", "unlink", "zadd", "zrem", "zremrangebyscore",
)  # fmt: skip
TRANSACTION_COMMANDS = ("discard", "exec", "multi", "unwatch", "watch")
#: they show every key's name
SCAN_COMMANDS = ("dbsize", "scan")


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What one principal may do. A name of a group that ends with ``*`` is a prefix; keys are Redis' glob patterns."""

    writes: tuple[Topic, ...] = ()
    reads: tuple[Topic, ...] = ()
    #: groups in whose name it reads and commits
    groups: tuple[str, ...] = ()
    #: whether it sees where every group is
    sees_groups: bool = False
    #: whether it is known to Redis
    redis: bool = True
    #: keys that it reads and writes
    keys: tuple[str, ...] = ()
    #: keys that it reads
    read_keys: tuple[str, ...] = ()
    #: whether it looks through all keys
    scans: bool = False
    #: whether it has Redis write a snapshot
    saves: bool = False

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of Redis that it may give, besides those of every connection."""
        more: tuple[str, ...] = ("info", "ping")
        if self.keys or self.read_keys:
            more += READ_COMMANDS + TRANSACTION_COMMANDS
        if self.keys:
            more += WRITE_COMMANDS
        return more + (SCAN_COMMANDS if self.scans else ()) + (("bgsave",) if self.saves else ())


RIGHTS: Mapping[str, Rights] = {
    "processor": Rights(
        # a payment that came to another partition than its card's is sent on
        writes=(TRANSACTIONS, FEATURES, ENTITIES, DEAD_LETTERS),
        reads=(TRANSACTIONS, ENTITIES),
        groups=("processor", READERS),
        keys=(*STATE, *CATALOGUES, *ERAS, "tollgate:identities:*", "tollgate:room"),
        read_keys=INDEX,
        scans=True,
    ),
    "labels": Rights(
        # what a label changes for its merchant and device goes to `entities`, like a payment's
        writes=(LABELS, OUTCOMES, ENTITIES, DEAD_LETTERS),
        reads=(LABELS, DECISIONS, OUTCOMES),
        groups=("labels", READERS),
        keys=("{l*", "{d*", "tollgate:label:*", "tollgate:labels:*", *INDEX, *ERAS),
    ),
    "scoring": Rights(
        writes=(DECISIONS, SHADOW, DEAD_LETTERS),
        reads=(FEATURES, DECISIONS, ROLLOUTS),
        groups=("scoring", "scoring-tail", READERS, FOLLOWERS),
        read_keys=CATALOGUES,
    ),
    "edge": Rights(
        writes=(TRANSACTIONS, LABELS, SHADOW),
        reads=(ROLLOUTS,),
        groups=(READERS, FOLLOWERS),
        keys=("tollgate:edge", "tollgate:edge:*", "tollgate:edge-page:*", *CATALOGUES),
        read_keys=(*STATE, *INDEX),
    ),
    "archive": Rights(
        writes=(DEAD_LETTERS,),
        # it also samples the books and recomputes features
        reads=(FEATURES, DECISIONS, OUTCOMES, TRANSACTIONS, ENTITIES, DEAD_LETTERS),
        groups=("archive", READERS),
        read_keys=(*STATE, *INDEX, *CATALOGUES),
    ),
    "drift": Rights(
        writes=(DRIFT, RETRAINING, DEAD_LETTERS),
        reads=(FEATURES, DECISIONS),
        groups=("drift", READERS),
        read_keys=CATALOGUES,
    ),
    "trainer": Rights(
        writes=(DEAD_LETTERS,),
        reads=(RETRAINING, ROLLOUTS),
        groups=("trainer", READERS, FOLLOWERS),
        redis=False,
    ),
    "rollout": Rights(
        writes=(ROLLOUTS, AUDIT, DEAD_LETTERS),
        # by what was decided, and how it turned out, a rollout goes on or back
        reads=(ROLLOUT_REQUESTS, ROLLOUTS, AUDIT, SHADOW, DECISIONS, OUTCOMES),
        groups=("rollout", "rollout-*", "rollouts-*", READERS, FOLLOWERS),
        redis=False,
    ),
    "console": Rights(
        # what people at the console label, and what they ask of models: that is signed with their own keys
        writes=(LABELS, ROLLOUT_REQUESTS),
        reads=(DECISIONS, FEATURES, OUTCOMES, DRIFT, RETRAINING, ROLLOUTS, AUDIT, DEAD_LETTERS, DEAD_LETTERS_REPLAYED),
        groups=("tollgate-console-*", "rollout-answer-*", READERS, FOLLOWERS),
        sees_groups=True,
        keys=("tollgate:console:*",),
        read_keys=(*STATE, *INDEX, *CATALOGUES),
    ),
    "oncall": Rights(groups=(READERS,), sees_groups=True),
    "warm-up": Rights(writes=(WARM_UP,), reads=(WARM_UP,), groups=("warm-up",), redis=False),
    # whoever reads features with Feast; it has no part in Kafka
    "feast": Rights(read_keys=(*STATE, *CATALOGUES)),
    # a company's own program: it sends payments and labels, and reads what was decided
    "producer": Rights(
        writes=(TRANSACTIONS, LABELS),
        reads=(DECISIONS, OUTCOMES),
        groups=("producer-*",),
        redis=False,
    ),
    OPERATOR: Rights(
        # simulated payments and labels, replayed dead letters, signed requests, and corrections of the books
        writes=(TRANSACTIONS, LABELS, ROLLOUT_REQUESTS, RETRAINING, DEAD_LETTERS_REPLAYED, BOOKS),
        reads=tuple(topic for topic in ALL if topic is not WARM_UP),
        groups=("rollout-answer-*", "tollgate-*", READERS, FOLLOWERS),
        sees_groups=True,
        read_keys=("*",),
        # `tollgate backup`
        saves=True,
    ),
    REBUILD: Rights(
        reads=(TRANSACTIONS, ENTITIES, DEAD_LETTERS),
        groups=(READERS,),
        sees_groups=True,
        keys=(*STATE, *CATALOGUES, *ERAS, "tollgate:identities:*"),
        read_keys=INDEX,
        scans=True,
    ),
}  # fmt: skip
