"""Simulated traffic: weeks of history that warm the profiles, then the measured rows; as a table and in the kernels' form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.engine import Profiles, Slots
from features.kernels.columns import Payments, text_hash
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.replay import columns_of_table
from loadtest.bench.features_parts.batches import BATCH, Batch, do_batch
from loadtest.traffic.simulator import create_world, history_table

SEED = 11
WARM_DAYS = 28
SHARED_ENTITY_COLUMNS = ("merchant_id", "device_id", "ip")


@dataclass(frozen=True)
class Traffic:
    """``table``: all rows in order of event time, of which the first ``warm`` are history; columns and slots of each row."""

    table: pa.Table
    warm: int
    columns: Payments
    cards: Slots
    customers: Slots
    shared_entities: Slots
    frauds: Slots
    card_hashes: npt.NDArray[np.uint32]
    card_names: list[str]
    customer_names: list[str]
    #: of merchants, of devices, of addresses; their slots follow each other in this order
    shared_entity_names: list[list[str]]

    def batch(self, start: int, end: int) -> Batch:
        """Rows [start, end) as one batch."""
        rows = slice(start, end)
        return Batch(
            self.columns[rows], self.cards[rows], self.customers[rows], self.shared_entities[rows], self.frauds[rows],
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
    for name in SHARED_ENTITY_COLUMNS:
        whole = pc.coalesce(table[name], table["card_id"])
        table = table.set_column(table.column_names.index(name), name, whole)
    card_codes, names = _codes(table["card_id"])
    customers, customer_names = _codes(table["customer_id"])
    shared_entities = np.empty((table.num_rows, len(SHARED_ENTITY_COLUMNS)), dtype=np.int64)
    shared_entity_names: list[list[str]] = []
    for kind, name in enumerate(SHARED_ENTITY_COLUMNS):
        codes, found = _codes(table[name])
        shared_entities[:, kind] = codes + sum(map(len, shared_entity_names))
        shared_entity_names.append(found)
    hashes = np.array([text_hash(name) for name in names], dtype=np.uint32)
    return Traffic(
        table, before.num_rows, columns_of_table(table), card_codes, customers, shared_entities,
        np.column_stack([card_codes, customers + len(names)]), hashes[card_codes], names, customer_names, shared_entity_names,
    )  # fmt: skip


def warm_state(traffic: Traffic) -> Profiles:
    """Profiles after the history."""
    cards, customers = len(traffic.card_names), len(traffic.customer_names)
    state = Profiles(
        new_arena(PAYER, cards), new_arena(PAYER, customers),
        new_arena(SHARED_ENTITY, sum(map(len, traffic.shared_entity_names))), new_arena(FRAUDS, cards + customers),
    )  # fmt: skip
    for start in range(0, traffic.warm, BATCH):
        do_batch(traffic.batch(start, min(start + BATCH, traffic.warm)), state)
    return state


def _codes(column: pa.ChunkedArray) -> tuple[Slots, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()
