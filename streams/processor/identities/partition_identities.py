"""The identities of one partition's log, for rebuilding its state from the log alone."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from features.identity import identities_of
from features.kernels.columns import Payments
from features.store.partitions import names_of, text_hashes
from features.store.profiles.slot_table import keyed_hashes
from features.store.redis_client import Command
from features.transaction import Transaction
from streams.processor.identities.blocks import IdentityBlocks, Rows
from streams.processor.identities.table import CONFLICT, FIRST, IdentityTable, contents_of, place_of


class PartitionIdentities:
    """What the processor's ``KnownTransactions`` would say, without its index: that spoke in the dead letters."""

    def __init__(
        self, partition: int, partitions: int, secret: tuple[int, int], refused: Collection[int] = frozenset()
    ) -> None:
        """``partitions``: of `transactions`; ``refused``: offsets that the processor refused for their identity."""
        self._partition = partition
        self._secret = secret
        self._refused = np.array(sorted(refused), dtype=np.int64)
        self._table = IdentityTable()
        self._blocks = IdentityBlocks(partitions)
        # by key, so that a dropped block costs nothing; in the order of the log
        self._writes: dict[str, list[Command]] = {}

    def begin_unknown(self) -> None:
        """The log begins after the partition did."""
        self._blocks.begin_unknown(self._partition, _now_ms())

    def first(self, transactions: Sequence[Transaction], payments: Payments) -> npt.NDArray[np.bool_]:
        """Which of n transactions, in offset order, are the first of their identity, (n,)."""
        if not transactions:
            return np.zeros(0, dtype=np.bool_)
        identities = identities_of(
            [tx.tenant for tx in transactions], [tx.transaction_id for tx in transactions]
        )
        names = keyed_hashes(*names_of(identities), self._secret)
        contents = contents_of(payments, text_hashes(names_of([tx.card_id for tx in transactions])))
        offsets, event_ms = payments["offset"].copy(), payments["event_ms"].copy()
        known = np.where(np.isin(offsets, self._refused), CONFLICT, FIRST).astype(np.uint8)
        self._table.make_room(len(transactions))
        met = self._table.meet(names, contents, offsets + place_of(self._partition, 0), known, event_ms)
        first: npt.NDArray[np.bool_] = met.verdicts == FIRST
        if first.any():
            rows = Rows(offsets[first], names[first], contents[first], event_ms[first])
            for command in self._blocks.writes(self._partition, rows, _now_ms()):
                self._keep(command)
        return first

    def writes(self) -> list[Command]:
        """Commands that keep the newest identities of the partition."""
        return [command for commands in self._writes.values() for command in commands]

    def _keep(self, command: Command) -> None:
        name, key = str(command[0]), str(command[1])
        if name == "DEL":
            self._writes.pop(key, None)
        elif name == "SET":
            self._writes[key] = [command]
        else:
            self._writes.setdefault(key, []).append(command)


def _now_ms() -> int:
    return int(time.time() * 1000)
