"""The views of an entity in Redis. Each view is one string per entity, with one writer.

A card's payments are written by the worker that holds its partition of `transactions`, everything else by the worker that holds
its partition of `entities`. So the frauds and declines of a card or customer are a view of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY

#: topics whose partitions own state
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
    """``topic``: the topic whose partitions own it. ``dtype``: its record (``features.profile.records``)."""

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
