"""Early labels: labels that arrived before their decision. They are few; for all other decisions no label is looked up.

One sorted set per partition in Redis, scored by the time the label was handled. It changes in the EXEC of the chunk that brings the
label or the decision. The partition's worker keeps a copy in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.store.redis_client import Command, RespClient
from streams.log.decision_index import KEEP_S


def early_key(partition: int) -> str:
    """Redis key of a partition's set of early labels, by identity."""
    return f"tollgate:labels:early:{partition}"


class EarlyLabels:
    """A worker's copy of the early labels of its partitions."""

    def __init__(self) -> None:
        self._ids: dict[int, set[str]] = {}

    def load(self, client: RespClient, partitions: Iterable[int], now_s: float) -> None:
        """Read the sets of newly assigned partitions and forget all others.

        Raises:
            StoreUnavailable: Redis did not answer in time.
        """
        wanted = sorted(set(partitions))
        replies = client.with_retry(
            [("ZRANGE", early_key(p), f"{now_s - KEEP_S:.0f}", "+inf", "BYSCORE") for p in wanted]
        )
        self._ids = {p: {raw.decode() for raw in reply} for p, reply in zip(wanted, replies, strict=True)}

    def __bool__(self) -> bool:
        """Whether there are any; usually there are none, and no decision needs a look-up."""
        return any(self._ids.values())

    def __contains__(self, place: tuple[int, str]) -> bool:
        """Whether a (partition, identity) has an early label."""
        partition, identity = place
        return identity in self._ids.get(partition, ())

    def came(self, partition: int, identities: Sequence[str], now_s: float) -> list[Command]:
        """Add labels without a decision; returns the commands that store them and delete those older than KEEP_S."""
        self._ids.setdefault(partition, set()).update(identities)
        key = early_key(partition)
        return [
            ("ZADD", key, *(part for i in identities for part in (f"{now_s:.0f}", i))),
            ("ZREMRANGEBYSCORE", key, "-inf", f"({now_s - KEEP_S:.0f}"),
        ]  # fmt: skip

    def met(self, partition: int, identities: Sequence[str]) -> list[Command]:
        """Remove the labels whose decisions arrived; returns the command that deletes them."""
        self._ids.get(partition, set()).difference_update(identities)
        return [("ZREM", early_key(partition), *identities)]
