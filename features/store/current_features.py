"""Features as of now: of an entity before any payment, or of a transaction that is about to happen.

The kernels that serve, on profiles that are read and never written. Time is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.kernels.columns import columns_of
from features.kernels.payer import DUPLICATE
from features.kernels.shared_entity import SHARED_ENTITIES
from features.store.profile_reader import Named, ProfileReader
from features.store.views import JOIN_KEYS
from features.transaction import Transaction

Matrix = npt.NDArray[np.float32]


def of_entities(
    reader: ProfileReader, entity: str, ids: Sequence[str], at_ms: int
) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """What is known of n entities of one kind at a moment.

    Args:
        entity: card, customer, merchant, device or ip.
        at_ms: windows end here; milliseconds since 1970.

    Returns:
        float32 (n, WIDTH): the entity's own entries, before any payment; entries that look at a payment are NaN, and an id
        that was never seen has an empty profile, as it has for the model.
        int64 (n,): event time of each entity's newest payment, 0 where there is none.

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
    """What the model would see of n transactions, each as if it came next: float32 (n, WIDTH).

    The row of one that its card's profile holds already is NaN: it has happened.

    Raises:
        ProfilesUnavailable.
    """
    gather = reader.read(transactions)
    moments = [transaction.event_ms for transaction in transactions]
    rows, seen = gather.compute(columns_of(transactions, moments, [-1] * len(moments)), apply=False)
    rows[seen == DUPLICATE] = np.nan
    return rows
