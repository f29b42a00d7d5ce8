"""The ids of a chunk of `transactions`, encoded and hashed once for all that looks them up. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.identity import identities_of
from features.kernels.columns import Hashes, Payments, Stated, payments_of
from features.store.partitions import Names, ids_together, text_hashes
from features.store.profiles.cache import EntityIds
from features.transaction import TransactionColumns
from streams.processor.intake import Accepted


class WhoPaid(NamedTuple):
    """Ids of n transactions as the kernels and the store take them."""

    entities: EntityIds
    #: uint32 (n,), of cards
    cards: npt.NDArray[np.uint32]
    hashes: Hashes
    #: identities of the transactions
    own: Names


def who_paid(columns: TransactionColumns) -> WhoPaid:
    """All ids of a chunk, encoded and hashed in one go."""
    cards, customers, merchants, devices, ips, own = ids_together(
        columns.card_id, columns.customer_id, columns.merchant_id, columns.device_id, columns.ip,
        identities_of(columns.tenant, columns.transaction_id),
    )  # fmt: skip
    hashes = Hashes(*(text_hashes(ids.names) for ids in (own, merchants, devices)))
    return WhoPaid(
        EntityIds(cards, customers, merchants, devices, ips), text_hashes(cards.names), hashes, own.names
    )


def payments_in(accepted: Accepted, who: WhoPaid) -> Payments:
    """What the kernels read of a chunk's transactions, PAYMENT (n,)."""
    columns = accepted.columns
    stated = Stated(
        columns.amount_minor, columns.currency, columns.mcc, columns.channel, columns.country, columns.latitude,
        columns.longitude,
    )  # fmt: skip
    return payments_of(stated, who.hashes, accepted.event_ms, accepted.offsets)
