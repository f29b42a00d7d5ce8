"""How updates from `entities` change profiles. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.kernels.columns import NAN, PAYMENT, Payments
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.profile.records import FRAUDS, PAYER
from features.store.views import CUSTOMER_STATE, FRAUDS_OF, PAYMENTS_OF, View
from streams.log.records import EntityItem
from streams.processor.payment_updates import Paid

KINDS = {"tx": PAID, "label": LABEL, "declined": DECLINED}
Arena = npt.NDArray[np.void]
#: (kind, entity) -> the view that such items change: payments of all but cards (who have their own stage); what labels and
#: declines say of payers apart from their payments, labels of shared entities with them
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


class Known(NamedTuple):
    """What was last applied of what labels say of one transaction, to one entity."""

    label_time_ms: int
    offset: int
    frauds: int


class Told(NamedTuple):
    """Of which entity and which transaction a label tells."""

    entity: str
    entity_id: str
    transaction_id: str


def told_by(item: EntityItem) -> Told | None:
    """What a label's item tells of; None for other items, which are known by their offset."""
    return None if item.said is None else Told(item.entity, item.entity_id, item.said.transaction_id)


def news_of(item: EntityItem, known: Known | None) -> tuple[EntityItem, Known] | None:
    """A label's item with the change that it makes, and what is known afterwards; None when it says nothing new."""
    assert item.said is not None
    time_ms, offset = item.said.label_time_ms, item.said.offset
    if known is not None and (time_ms, offset) <= (known.label_time_ms, known.offset):
        return None
    change = item.frauds - (known.frauds if known else 0)
    return msgspec.structs.replace(item, frauds=change), Known(time_ms, offset, item.frauds)


class Placed(NamedTuple):
    """An item, the place of its record in the chunk, and its record's offset on `entities`."""

    order: int
    offset: int
    item: EntityItem


def news_in(
    items: Sequence[Placed], known: dict[Told, Known | None]
) -> tuple[list[Placed], dict[Told, Known]]:
    """The items that say something new, labels with the change that they make, and what became known.

    ``known``: by ``told_by``, what is known of each label's transaction and entity; it moves on.
    """
    fresh: list[Placed] = []
    changed: dict[Told, Known] = {}
    for placed in items:
        told = told_by(placed.item)
        if told is None:
            fresh.append(placed)
        elif (news := news_of(placed.item, known.get(told))) is not None:
            known[told] = changed[told] = news[1]
            fresh.append(placed._replace(item=news[0]))
    return fresh, changed


class Columns(NamedTuple):
    """n items of one kind of profile, in the order in which they are applied."""

    ids: list[str]
    #: int64 (n,): offsets of their records of `entities`; KINDS; change of the count of frauds
    at: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    frauds: npt.NDArray[np.int64]
    #: uint32 (n,): hashes of their cards
    cards: npt.NDArray[np.uint32]
    #: time and amount of every item, all of a customer's payments
    payments: Payments


def columns_of_items(items: Sequence[EntityItem], offsets: Sequence[int]) -> Columns:
    """Items as columns; ``offsets`` are those of their records of `entities`."""
    payments = np.zeros(len(items), dtype=PAYMENT)
    payments["event_ms"] = [item.event_ms for item in items]
    payments["amount"] = [item.amount_minor for item in items]
    # view_of lets no customer's item without a payment come this far
    paid = [(i, item.payment) for i, item in enumerate(items) if item.payment is not None]
    if paid:
        rows = [i for i, _ in paid]
        for name in ("id_hash", "merchant_hash", "device_hash", "country"):
            payments[name][rows] = [getattr(p, name) for _, p in paid]
        for name in ("latitude", "longitude", "channel", "mcc"):
            payments[name][rows] = [NAN if (value := getattr(p, name)) is None else value for _, p in paid]
    return Columns(
        [item.entity_id for item in items],
        np.array(offsets, dtype=np.int64),
        np.array([KINDS[item.kind] for item in items], dtype=np.int64),
        np.array([item.frauds for item in items], dtype=np.int64),
        np.array([item.card_hash for item in items], dtype=np.uint32),
        payments,
    )


def columns_of_paid(paid: Paid, chosen: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> Columns:
    """Some items of payments as columns; ``offsets`` (all of them) are those of their records of `entities`."""
    n = len(chosen)
    ids = paid.ids
    return Columns(
        [ids[i] for i in chosen.tolist()], offsets[chosen], np.full(n, PAID, dtype=np.int64),
        np.zeros(n, dtype=np.int64), paid.cards[chosen], paid.payments[chosen],
    )  # fmt: skip


def apply_columns(columns: Columns, slots: npt.NDArray[np.int64], arena: Arena) -> None:
    """Apply items that belong to one kind of profile, in order."""
    payments = columns.payments
    if arena.dtype == PAYER:
        own = payments.copy()
        own["offset"] = columns.at
        own["currency"] = NAN
        apply_payments(own, slots, arena)
        return
    event_ms = np.ascontiguousarray(payments["event_ms"])
    if arena.dtype == FRAUDS:
        apply_frauds(slots, columns.at, columns.kinds, event_ms, columns.frauds, arena)
        return
    amounts = np.ascontiguousarray(payments["amount"])
    apply_items(slots, columns.at, columns.kinds, event_ms, amounts, columns.cards, columns.frauds, arena)


def apply(items: Sequence[EntityItem], slots: Sequence[int], offsets: Sequence[int], arena: Arena) -> None:
    """``apply_columns`` for structs; ``offsets`` are those of their records of `entities`."""
    if items:
        apply_columns(columns_of_items(items, offsets), np.array(slots, dtype=np.int64), arena)
