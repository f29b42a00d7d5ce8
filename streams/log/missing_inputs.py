"""Features of entities whose state could not be read are unknown (NaN); they must not look like those of a new entity."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES
from features.transaction import Transaction
from streams.log.records import (
    MISSING_CARD,
    MISSING_CUSTOMER,
    MISSING_DEVICE,
    MISSING_IP,
    MISSING_MERCHANT,
)

_BITS = {
    "card": MISSING_CARD, "merchant": MISSING_MERCHANT, "device": MISSING_DEVICE, "ip": MISSING_IP,
    "customer": MISSING_CUSTOMER,
}  # fmt: skip

#: in the order of ``Gather.unread``
_UNREAD_BITS = np.array([MISSING_CARD, MISSING_CUSTOMER, MISSING_MERCHANT, MISSING_DEVICE, MISSING_IP])


@cache
def missing_columns(missing: int) -> npt.NDArray[np.bool_]:
    """Which catalogue columns belong to the entities whose bits are set in ``missing``; bool (WIDTH,)."""
    return np.array([bool(_BITS.get(feature.entity, 0) & missing) for feature in FEATURES])


def blank(row: npt.NDArray[np.float32], missing: int) -> None:
    """Set the columns of a row (WIDTH,) to NaN whose entities have their bits set in ``missing``."""
    if missing:
        row[missing_columns(missing)] = np.nan


def missing_in(unread: npt.NDArray[np.bool_]) -> list[int]:
    """MISSING bits of n transactions; ``unread`` is bool (n, 5) as ``Gather.unread``, True for entities that were not read."""
    bits: list[int] = (unread @ _UNREAD_BITS).tolist()
    return bits


def present(tx: Transaction) -> int:
    """MISSING bits of all entities that a transaction names, for use when no state can be read."""
    bits = MISSING_CARD | MISSING_MERCHANT
    bits |= MISSING_DEVICE if tx.device_id else 0
    bits |= MISSING_IP if tx.ip else 0
    return bits | (MISSING_CUSTOMER if tx.customer_id else 0)
