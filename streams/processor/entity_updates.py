"""Applies updates from `entities` to profiles. Pure."""

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
#: (kind, entity) -> the view that such updates change. Payments of cards have their own stage. Labels and declines of payers have a
#: view of their own; labels of shared entities are in the payments' view
_VIEWS = {
    **{("tx", entity): view for entity, view in PAYMENTS_OF.items() if entity != "card"},
    **{("label", entity): FRAUDS_OF.get(entity, view) for entity, view in PAYMENTS_OF.items()},
    **{("declined", entity): view for entity, view in FRAUDS_OF.items()},
}


def view_of(item: EntityItem) -> View:
    """The view that an update changes.

    Raises:
        ValueError: the kind is unknown or does not exist for this entity, or a customer's payment is missing.
    """
    view = _VIEWS.get((item.kind, item.entity))
    if view is None:
        raise ValueError(f"no item of kind {item.kind} for entity {item.entity}")
    if view is CUSTOMER_STATE and item.payment is None:
        raise ValueError("a customer's item without its payment")
    return view


class Statement(NamedTuple):
    """The last applied label statement on one transaction, for one entity."""

    label_time_ms: int
    offset: int
    frauds: int


class StatementKey(NamedTuple):
    """The entity and transaction of a label statement."""

    entity: str
    entity_id: str
    transaction_id: str


def statement_key(item: EntityItem) -> StatementKey | None:
    """Entity and transaction of a label update; None for other updates, whose duplicates are found by offset."""
    return None if item.said is None else StatementKey(item.entity, item.entity_id, item.said.transaction)


def newer_statement(item: EntityItem, known: Statement | None) -> tuple[EntityItem, Statement] | None:
    """A label update with ``frauds`` as a change, and the new statement; None for a duplicate or outdated statement."""
    assert item.said is not None
    time_ms, offset = item.said.label_time_ms, item.said.offset
    if known is not None and (time_ms, offset) <= (known.label_time_ms, known.offset):
        return None
    change = item.frauds - (known.frauds if known else 0)
    return msgspec.structs.replace(item, frauds=change), Statement(time_ms, offset, item.frauds)


class Placed(NamedTuple):
    """An update, the index of its record in the chunk, and the record's offset on `entities`."""

    order: int
    offset: int
    item: EntityItem


def without_repeats(
    items: Sequence[Placed], known: dict[StatementKey, Statement | None]
) -> tuple[list[Placed], dict[StatementKey, Statement]]:
    """Updates without duplicate label statements, labels converted to changes; and the new statements.

    ``known``: last statement by ``statement_key``; it is updated.
    """
    unapplied: list[Placed] = []
    changed: dict[StatementKey, Statement] = {}
    for placed in items:
        key = statement_key(placed.item)
        if key is None:
            unapplied.append(placed)
        elif (newer := newer_statement(placed.item, known.get(key))) is not None:
            known[key] = changed[key] = newer[1]
            unapplied.append(placed._replace(item=newer[0]))
    return unapplied, changed


class Columns(NamedTuple):
    """n updates of one kind of profile, in the order in which they are applied."""

    ids: list[str]
    #: int64 (n,) each: offset of the record on `entities`; value of KINDS; change of the number of frauds
    at: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    frauds: npt.NDArray[np.int64]
    #: uint32 (n,): hash of the card
    cards: npt.NDArray[np.uint32]
    #: (n,): time and amount of each update; for customers all fields
    payments: Payments


def columns_of_items(items: Sequence[EntityItem], offsets: Sequence[int]) -> Columns:
    """Updates as columns; ``offsets``: of their records on `entities`."""
    payments = np.zeros(len(items), dtype=PAYMENT)
    payments["event_ms"] = [item.event_ms for item in items]
    payments["amount"] = [item.amount_minor for item in items]
    # every customer update has a payment: ``view_of`` refuses others
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
    """The ``chosen`` payment updates as columns; ``offsets``: of all updates' records on `entities`."""
    n = len(chosen)
    ids = paid.ids
    return Columns(
        [ids[i] for i in chosen.tolist()], offsets[chosen], np.full(n, PAID, dtype=np.int64),
        np.zeros(n, dtype=np.int64), paid.cards[chosen], paid.payments[chosen],
    )  # fmt: skip


def apply_columns(columns: Columns, slots: npt.NDArray[np.int64], arena: Arena) -> None:
    """Apply updates of one kind of profile, in order."""
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
    """``apply_columns`` for structs; ``offsets``: of their records on `entities`."""
    if items:
        apply_columns(columns_of_items(items, offsets), np.array(slots, dtype=np.int64), arena)
