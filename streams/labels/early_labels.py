"""Early labels: labels that arrived before their decision. They are few; for all other decisions no label is looked up.

One sorted set per partition in Redis, scored by the time the label was handled. It changes in the EXEC of the chunk that brings the
label or the decision. The partition's worker keeps a copy in memory. A label counts for nobody before its decision is there, since
anybody may send one; so they are bounded in number, for each source, and in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from features.store.redis_client import Command, RespClient
from streams.contracts.label import Label

#: how long a label waits for its decision, which may be behind by an outage, not by weeks
WAIT_S = 7 * 86_400
#: waiting labels of one source on one partition; further ones are dead letters
MAX_WAITING = 100_000
#: stands in no identifier
_BETWEEN = "\x1e"


class Subject(NamedTuple):
    """The payment that a label is about, as the label says it. Labels that say it differently do not meet."""

    identity: str
    card_id: str
    merchant_id: str

    @property
    def text(self) -> str:
        return _BETWEEN.join(self)


def subject_of(label: Label) -> Subject:
    return Subject(label.identity, label.card_id, label.merchant_id)


class Waiting(NamedTuple):
    """One early label: what it is about, and its source."""

    subject: Subject
    source: str

    @property
    def text(self) -> str:
        return _BETWEEN.join((self.source, *self.subject))


def early_key(partition: int) -> str:
    """Redis key of a partition's set of early labels."""
    return f"tollgate:labels:early:{partition}"


class EarlyLabels:
    """A worker's copy of the early labels of its partitions."""

    def __init__(self, most: int = MAX_WAITING) -> None:
        """``most``: of one source on one partition."""
        self._most = most
        #: by partition and identity
        self._waiting: dict[int, dict[str, set[Waiting]]] = {}
        self._counts: Counter[tuple[int, str]] = Counter()

    def load(self, client: RespClient, partitions: Iterable[int], now_s: float) -> None:
        """Read the sets of newly assigned partitions and forget all others.

        Raises:
            StoreUnavailable: Redis did not answer in time.
        """
        wanted = sorted(set(partitions))
        replies = client.with_retry(
            [("ZRANGE", early_key(p), f"{now_s - WAIT_S:.0f}", "+inf", "BYSCORE") for p in wanted]
        )
        self._waiting, self._counts = {}, Counter()
        for partition, reply in zip(wanted, replies, strict=True):
            for raw in reply:
                source, *subject = raw.decode().split(_BETWEEN)
                # of an older form: its label is found by nobody
                if len(subject) == len(Subject._fields):
                    self._add(partition, Waiting(Subject(*subject), source))

    def __bool__(self) -> bool:
        """Whether there are any; usually there are none, and no decision needs a look-up."""
        return any(self._waiting.values())

    def of(self, partition: int, identity: str) -> Iterable[Waiting]:
        """The labels that wait for a decision."""
        return self._waiting.get(partition, {}).get(identity, ())

    def take(self, partition: int, one: Waiting) -> bool:
        """Let one more wait; False if too many of its source do. ``came`` stores those taken."""
        if one in self.of(partition, one.subject.identity):
            return True
        if self._counts[partition, one.source] >= self._most:
            return False
        self._add(partition, one)
        return True

    def came(self, partition: int, taken: Sequence[Waiting], now_s: float) -> list[Command]:
        """The commands that store labels which wait, and delete those that have waited for longer than WAIT_S."""
        key = early_key(partition)
        return [
            ("ZADD", key, *(part for one in taken for part in (f"{now_s:.0f}", one.text))),
            ("ZREMRANGEBYSCORE", key, "-inf", f"({now_s - WAIT_S:.0f}"),
        ]  # fmt: skip

    def met(self, partition: int, met: Sequence[Waiting]) -> list[Command]:
        """Remove labels whose decisions arrived; returns the command that deletes them."""
        by_identity = self._waiting.get(partition, {})
        for one in met:
            waiting = by_identity.get(one.subject.identity, set())
            if one in waiting:
                waiting.discard(one)
                self._counts[partition, one.source] -= 1
            if not waiting:
                by_identity.pop(one.subject.identity, None)
        return [("ZREM", early_key(partition), *(one.text for one in met))]

    def _add(self, partition: int, one: Waiting) -> None:
        self._waiting.setdefault(partition, {}).setdefault(one.subject.identity, set()).add(one)
        self._counts[partition, one.source] += 1
