"""What the store keeps of an entity. Each view is one string per entity, written by one writer.

A card's payments are written by whoever holds its partition of `transactions`, everything else by whoever holds the partition of
`entities`; so what labels and declines say of a card or a customer stands apart from their payments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY

#: topics by whose partitions state is kept
TRANSACTIONS, ENTITIES = "transactions", "entities"
#: entity -> its join key, which is also the transaction's field
JOIN_KEYS = {
    "card": "card_id",
    "merchant": "merchant_id",
    "device": "device_id",
    "ip": "ip",
    "customer": "customer_id",
}


@dataclass(frozen=True, eq=False)
class View:
    """``topic``: the one by whose partitions it is kept. ``dtype``: the record that it keeps (``features.profile.records``)."""

    name: str
    entity: str
    topic: str
    dtype: np.dtype


CARD_STATE = View("card", "card", TRANSACTIONS, PAYER)
CARD_FRAUDS = View("card_frauds", "card", ENTITIES, FRAUDS)
MERCHANT_STATE = View("merchant", "merchant", ENTITIES, SHARED_ENTITY)
DEVICE_STATE = View("device", "device", ENTITIES, SHARED_ENTITY)
IP_STATE = View("ip", "ip", ENTITIES, SHARED_ENTITY)
CUSTOMER_STATE = View("customer", "customer", ENTITIES, PAYER)
CUSTOMER_FRAUDS = View("customer_frauds", "customer", ENTITIES, FRAUDS)
VIEWS = (CARD_STATE, CARD_FRAUDS, MERCHANT_STATE, DEVICE_STATE, IP_STATE, CUSTOMER_STATE, CUSTOMER_FRAUDS)
#: entity -> the view of its payments, and of a payer's frauds and declines
PAYMENTS_OF = {
    "card": CARD_STATE, "customer": CUSTOMER_STATE, "merchant": MERCHANT_STATE, "device": DEVICE_STATE, "ip": IP_STATE,
}  # fmt: skip
FRAUDS_OF = {"card": CARD_FRAUDS, "customer": CUSTOMER_FRAUDS}
