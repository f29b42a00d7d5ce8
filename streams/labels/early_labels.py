"""Labels that came before their decision: a few, so that a decision need not be looked up to know that it has none.

One sorted set a partition, by the time at which the label was handled, changed in the EXEC of the chunk that brought the label or the
decision. The worker of the partition keeps the set in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.store.redis_client import Command, RespClient
from streams.log.decision_index import KEEP_S


def early_key(partition: int) -> str:
    """Redis key of one partition's early labels, by transaction."""
    return f"tollgate:labels:early:{partition}"


class EarlyLabels:
    """What one worker knows of its partitions."""

    def __init__(self) -> None:
        self._ids: dict[int, set[str]] = {}

    def load(self, client: RespClient, partitions: Iterable[int], now_s: float) -> None:
        """After an assignment: read the sets, and forget other partitions'.

        Raises:
            StoreUnavailable: Redis did not come back in time.
        """
        wanted = sorted(set(partitions))
        replies = client.with_retry(
            [("ZRANGE", early_key(p), f"{now_s - KEEP_S:.0f}", "+inf", "BYSCORE") for p in wanted]
        )
        self._ids = {p: {raw.decode() for raw in reply} for p, reply in zip(wanted, replies, strict=True)}

    def __bool__(self) -> bool:
        """Whether any label came first; nearly always none did, and then no decision need be asked about."""
        return any(self._ids.values())

    def __contains__(self, place: tuple[int, str]) -> bool:
        """Whether the label of a (partition, transaction) came first."""
        partition, transaction_id = place
        return transaction_id in self._ids.get(partition, ())

    def came(self, partition: int, transaction_ids: Sequence[str], now_s: float) -> list[Command]:
        """Labels without a decision; the commands that remember them, and forget those that nothing came for."""
        self._ids.setdefault(partition, set()).update(transaction_ids)
        key = early_key(partition)
        return [
            ("ZADD", key, *(part for i in transaction_ids for part in (f"{now_s:.0f}", i))),
            ("ZREMRANGEBYSCORE", key, "-inf", f"({now_s - KEEP_S:.0f}"),
        ]  # fmt: skip

    def met(self, partition: int, transaction_ids: Sequence[str]) -> list[Command]:
        """Their decisions came; the command that forgets them."""
        self._ids.get(partition, set()).difference_update(transaction_ids)
        return [("ZREM", early_key(partition), *transaction_ids)]
