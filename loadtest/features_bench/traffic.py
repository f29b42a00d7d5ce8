"""Simulated traffic: weeks of history that warm the profiles, then what is measured; as a table and as the kernels take it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.columns import Payments, text_hash
from features.engine import Profiles, Slots
from features.profiles import FRAUDS, HOLDER, MEETING, new_arena
from features.replay import columns_of_table
from loadtest.features_bench.batches import BATCH, Batch, do_batch
from loadtest.simulator import create_world, history_table

SEED = 11
WARM_DAYS = 28
MEETING_COLUMNS = ("merchant_id", "device_id", "ip")


@dataclass(frozen=True)
class Traffic:
    """``table``: all rows in order of event time, of which the first ``warm`` are history; columns and slots of each row."""

    table: pa.Table
    warm: int
    columns: Payments
    cards: Slots
    customers: Slots
    meetings: Slots
    frauds: Slots
    card_hashes: npt.NDArray[np.uint32]
    card_names: list[str]
    customer_names: list[str]
    #: of merchants, of devices, of addresses; their slots follow each other in this order
    meeting_names: list[list[str]]

    def batch(self, start: int, end: int) -> Batch:
        """Rows [start, end) as one batch."""
        rows = slice(start, end)
        return Batch(
            self.columns[rows], self.cards[rows], self.customers[rows], self.meetings[rows], self.frauds[rows],
            self.card_hashes[rows],
        )  # fmt: skip

    @property
    def measured(self) -> pa.Table:
        """The rows after the history."""
        return self.table.slice(self.warm)


def make_traffic(cards: int, measured: int, end: datetime) -> Traffic:
    """Four weeks of a world's traffic and ``measured`` rows after it, which end at ``end``; five entities in every row.

    The simulator leaves the device and the address out where there are none; here the card's name stands in for them.
    """
    world = create_world(SEED, cards)
    start = end - timedelta(seconds=measured / world.payments_per_second)
    before = history_table(world, start - timedelta(days=WARM_DAYS), start, id_prefix="past")
    table = pa.concat_tables([before, history_table(world, start, end, count=measured, stream=1)])
    for name in MEETING_COLUMNS:
        whole = pc.coalesce(table[name], table["card_id"])
        table = table.set_column(table.column_names.index(name), name, whole)
    card_codes, names = _codes(table["card_id"])
    customers, customer_names = _codes(table["customer_id"])
    meetings = np.empty((table.num_rows, len(MEETING_COLUMNS)), dtype=np.int64)
    meeting_names: list[list[str]] = []
    for kind, name in enumerate(MEETING_COLUMNS):
        codes, found = _codes(table[name])
        meetings[:, kind] = codes + sum(map(len, meeting_names))
        meeting_names.append(found)
    hashes = np.array([text_hash(name) for name in names], dtype=np.uint32)
    return Traffic(
        table, before.num_rows, columns_of_table(table), card_codes, customers, meetings,
        np.column_stack([card_codes, customers + len(names)]), hashes[card_codes], names, customer_names, meeting_names,
    )  # fmt: skip


def warm_state(traffic: Traffic) -> Profiles:
    """Profiles after the history."""
    cards, customers = len(traffic.card_names), len(traffic.customer_names)
    state = Profiles(
        new_arena(HOLDER, cards), new_arena(HOLDER, customers),
        new_arena(MEETING, sum(map(len, traffic.meeting_names))), new_arena(FRAUDS, cards + customers),
    )  # fmt: skip
    for start in range(0, traffic.warm, BATCH):
        do_batch(traffic.batch(start, min(start + BATCH, traffic.warm)), state)
    return state


def _codes(column: pa.ChunkedArray) -> tuple[Slots, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()
