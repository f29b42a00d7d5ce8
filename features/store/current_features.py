"""Current features: of an entity before any payment, or of a transaction that has not been processed yet.

Runs the serving kernels on profiles that it reads and never writes. Time is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.kernels.columns import columns_of
from features.kernels.payer import DUPLICATE
from features.kernels.shared_entity import SHARED_ENTITIES
from features.store.profiles.reader import Named, ProfileReader
from features.store.views import JOIN_KEYS
from features.transaction import Transaction

Matrix = npt.NDArray[np.float32]


def of_entities(
    reader: ProfileReader, entity: str, ids: Sequence[str], at_ms: int
) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Features of n entities of one kind at one time.

    Args:
        entity: card, customer, merchant, device or ip.
        at_ms: end of all windows; milliseconds since 1970.

    Returns:
        float32 (n, WIDTH): the entity's own entries, before any payment. Entries that need a payment are NaN. An unknown id has an
        empty profile, as for the model.
        int64 (n,): event time of each entity's newest payment in milliseconds since 1970, 0 where there is none.

    Raises:
        ProfilesUnavailable.
    """
    key = JOIN_KEYS[entity]
    gather = reader.read([Named(**{key: name}) for name in ids])
    rows = gather.known_before(np.full(len(ids), at_ms, dtype=np.int64))
    if entity == "card":
        return rows, gather.cards["last_ms"][gather.card_slots]
    if entity == "customer":
        return rows, gather.customers["last_ms"][gather.customer_slots]
    return rows, gather.shared_entities["last_ms"][
        gather.shared_entity_slots[:, SHARED_ENTITIES.index(entity)]
    ]


def of_transactions(reader: ProfileReader, transactions: Sequence[Transaction]) -> Matrix:
    """The model's input for n transactions, each as if it came next: float32 (n, WIDTH).

    A transaction that its card's profile already includes has happened; its row is NaN.

    Raises:
        ProfilesUnavailable.
    """
    gather = reader.read(transactions)
    moments = [transaction.event_ms for transaction in transactions]
    rows, seen = gather.compute(columns_of(transactions, moments, [-1] * len(moments)), apply=False)
    rows[seen == DUPLICATE] = np.nan
    return rows
