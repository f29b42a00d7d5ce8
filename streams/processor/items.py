"""What items of `entities` do to profiles: which view each belongs to, and how they are applied. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.columns import CHANNELS, NAN, PAYMENT, Payments, mcc_number
from features.holder_kernel import apply_payments
from features.meeting_kernel import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.online.layout import CUSTOMER_STATE, FRAUDS_OF, PAYMENTS_OF, View
from features.profiles import FRAUDS, HOLDER, MEETING
from streams.events import Transaction
from streams.records import EntityItem, Payment

KINDS = {"tx": PAID, "label": LABEL, "declined": DECLINED}
Arena = npt.NDArray[np.void]
#: (kind, entity) -> the view that such items change: payments of all but cards (who have their own stage); what labels and
#: declines say of holders apart from their payments, labels of meeting places with them
_VIEWS = {
    **{("tx", entity): view for entity, view in PAYMENTS_OF.items() if entity != "card"},
    **{("label", entity): FRAUDS_OF.get(entity, view) for entity, view in PAYMENTS_OF.items()},
    **{("declined", entity): view for entity, view in FRAUDS_OF.items()},
}


def view_of(item: EntityItem) -> View:
    """The view that an item changes.

    Raises:
        ValueError: there is no such kind, or none for this entity.
    """
    view = _VIEWS.get((item.kind, item.entity))
    if view is None:
        raise ValueError(f"no item of kind {item.kind} for entity {item.entity}")
    if view is CUSTOMER_STATE and item.payment is None:
        raise ValueError("a customer's item without its payment")
    return view


def fresh_items(items: Sequence[EntityItem], known: int) -> tuple[list[EntityItem], int]:
    """Items above the last offset applied of their source, and the last offset now. What labels say passes: ``news_of``."""
    fresh = [item for item in items if item.said is not None or item.offset > known]
    return fresh, max((item.offset for item in fresh if item.said is None), default=known)


class Known(NamedTuple):
    """What was last applied of what labels say of one transaction, to one entity."""

    label_time_ms: int
    offset: int
    frauds: int


def said_key(item: EntityItem) -> str | None:
    """Which transaction and entity a label's item tells of; None for other items, which are known by their offset."""
    if item.said is None:
        return None
    return f"{item.entity}:{item.entity_id}:{item.said.transaction_id}"


def news_of(item: EntityItem, known: Known | None) -> tuple[EntityItem, Known] | None:
    """A label's item with the change that it makes, and what is known afterwards; None when it says nothing new."""
    assert item.said is not None
    time_ms, offset = item.said.label_time_ms, item.said.offset
    if known is not None and (time_ms, offset) <= (known.label_time_ms, known.offset):
        return None
    change = item.frauds - (known.frauds if known else 0)
    return msgspec.structs.replace(item, frauds=change), Known(time_ms, offset, item.frauds)


def news_in(
    items: Sequence[EntityItem], offsets: Sequence[int], known: dict[str, Known | None]
) -> tuple[list[EntityItem], list[int], dict[str, Known]]:
    """The items that say something new, labels with the change that they make, their offsets, and what became known.

    ``known``: by ``said_key``, what is known of each label's transaction and entity; it moves on.
    """
    fresh: list[EntityItem] = []
    at: list[int] = []
    changed: dict[str, Known] = {}
    for item, offset in zip(items, offsets, strict=True):
        key = said_key(item)
        if key is not None:
            news = news_of(item, known.get(key))
            if news is None:
                continue
            item, known[key] = news
            changed[key] = news[1]
        fresh.append(item)
        at.append(offset)
    return fresh, at, changed


def dtype_of(view: View) -> np.dtype:
    """The profile that a view keeps."""
    if view.name in ("card_state", CUSTOMER_STATE.name):
        return HOLDER
    return FRAUDS if view in FRAUDS_OF.values() else MEETING


def apply(items: Sequence[EntityItem], slots: Sequence[int], offsets: Sequence[int], arena: Arena) -> None:
    """Apply items that belong to one kind of profile, in order; ``offsets`` are those of their records of `entities`."""
    if not items:
        return
    places = np.array(slots, dtype=np.int64)
    at = np.array(offsets, dtype=np.int64)
    event_ms = np.array([item.event_ms for item in items], dtype=np.int64)
    if arena.dtype == HOLDER:
        apply_payments(_payments(items, event_ms, at), places, arena)
        return
    kinds = np.array([KINDS[item.kind] for item in items], dtype=np.int64)
    frauds = np.array([item.frauds for item in items], dtype=np.int64)
    if arena.dtype == FRAUDS:
        apply_frauds(places, at, kinds, event_ms, frauds, arena)
        return
    amounts = np.array([item.amount_minor for item in items], dtype=np.int64)
    cards = np.array([item.card_hash for item in items], dtype=np.uint32)
    apply_items(places, at, kinds, event_ms, amounts, cards, frauds, arena)


def _payments(items: Sequence[EntityItem], event_ms: Any, offsets: Any) -> Payments:
    # view_of lets no customer's item without a payment come this far
    paid = [item.payment for item in items if item.payment is not None]
    out = np.zeros(len(items), dtype=PAYMENT)
    out["event_ms"] = event_ms
    out["offset"] = offsets
    out["amount"] = [item.amount_minor for item in items]
    for name in ("id_hash", "merchant_hash", "device_hash", "country"):
        out[name] = [getattr(p, name) for p in paid]
    for name in ("latitude", "longitude", "channel", "mcc"):
        out[name] = [NAN if (value := getattr(p, name)) is None else value for p in paid]
    out["currency"] = NAN
    return out


def payment_of(tx: Transaction, id_hash: int, merchant_hash: int, device_hash: int, country: int) -> Payment:
    """What a customer's profile keeps of a transaction whose columns are known."""
    mcc = mcc_number(tx.mcc)
    return Payment(
        id_hash, merchant_hash, device_hash, country, tx.latitude, tx.longitude,
        CHANNELS[tx.channel] if tx.channel else None, None if mcc != mcc else mcc,
    )  # fmt: skip
