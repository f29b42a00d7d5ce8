"""A round's features at the edge: the kernels that serve the stream, on state that is read and never written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH
from features.columns import columns_of
from features.online.gather import Gather
from services.scoring.edge_entries import Entry
from streams.events import Transaction
from streams.missing import blank, present
from streams.records import (
    EdgeDecision,
    encode_edge_decision,
)


class Computed(NamedTuple):
    """Features of n entries. ``seen``: the card's ring holds this very transaction already (its row means nothing)."""

    rows: npt.NDArray[np.float32]
    seen: npt.NDArray[np.uint8]
    missing: list[int]
    as_of: list[list[int]]
    frauds_as_of: list[int]

    def header(self, i: int, decision_json: bytes) -> bytes:
        """What travels with the published transaction: its decision and what it was made from."""
        card, merchant, device, ip, customer = self.as_of[i]
        return encode_edge_decision(
            EdgeDecision(
                decision_json,
                CATALOGUE_HASH,
                self.rows[i].tobytes(),
                (card, merchant, device, ip, customer),
                self.missing[i],
                self.frauds_as_of[i],
            )
        )


def compute(entries: Sequence[Entry], gather: Gather, *, stateless: bool) -> Computed:
    """Features of a round; ``stateless``: nothing could be read, and what depends on it is unknown (NaN)."""
    columns = columns_of(
        [entry.transaction for entry in entries], [entry.event_ms for entry in entries], [-1] * len(entries)
    )
    rows, seen = gather.compute(columns, apply=False)
    missing = [present(entry.transaction) if stateless else 0 for entry in entries]
    for row, bits in zip(rows, missing, strict=True):
        blank(row, bits)
    as_of = np.column_stack([gather.cards["offset"][gather.card_slots], gather.entity_as_of()])
    return Computed(rows, seen, missing, as_of.tolist(), gather.frauds_as_of().tolist())


def warm_kernels() -> None:
    """Compile, or load from the cache, what the first request would otherwise wait seconds for."""
    transaction = Transaction(
        transaction_id="warm", event_time=datetime(2026, 1, 1, tzinfo=UTC), card_id="warm", merchant_id="warm",
        amount_minor=1, currency="EUR",
    )  # fmt: skip
    compute([Entry(transaction, 0.0, 1, None)], Gather([transaction]), stateless=True)
