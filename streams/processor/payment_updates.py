"""Packs payments for `entities` into columns, and unpacks them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.kernels.columns import PAYMENT, Payments
from streams.log.records import PAID_ENTITIES, EntityItem, EntityItems, PaidColumns, Payment

#: upper bound of event times, ms since 1970: the year 2100
MAX_MS = 4_102_444_800_000
_KINDS = len(PAID_ENTITIES)
#: columns of payments with their least value and the first one that is too large
_RANGES = (("event_ms", 0, MAX_MS), ("offset", 0, 2**63 - 1), ("amount", 0, 2**40))
#: an id has at most 64 characters, of at most four bytes
_MAX_ID_BYTES = 256


class Paid(NamedTuple):
    """n updates: payment, card hash, kind of entity (index in PAID_ENTITIES) and entity id of each."""

    payments: Payments
    cards: npt.NDArray[np.uint32]
    kinds: npt.NDArray[np.uint8]
    ids: list[str]


def pack_paid(
    payments: Payments,
    cards: npt.NDArray[np.uint32],
    ids: Sequence[Sequence[str | None]],
    homes: npt.NDArray[np.int64],
    sources: npt.NDArray[np.int64],
    keep: npt.NDArray[np.bool_],
) -> dict[tuple[int, int], PaidColumns]:
    """The updates from a chunk's n transactions, by source partition and partition of `entities`.

    Args:
        cards: (n,), hashes. ids: n ids for each kind of PAID_ENTITIES. homes: (n, kinds), partitions, -1 for no id.
        sources: (n,), partition of each transaction. keep: (n,), False for duplicates.
    """
    rows, kinds, payment, used, starts = _sorted_items(homes, sources, keep)
    if not len(rows):
        return {}
    names = [ids[kind][row] or "" for kind, row in zip(kinds.tolist(), rows.tolist(), strict=True)]
    paid, paid_cards = payments[used], cards[used]
    out: dict[tuple[int, int], PaidColumns] = {}
    for (first, begin), (last, end) in pairwise(starts.tolist()):
        key = int(sources[rows[first]]), int(homes[rows[first], kinds[first]])
        out[key] = PaidColumns(
            paid[begin:end].tobytes(), paid_cards[begin:end].tobytes(), payment[first:last].tobytes(),
            kinds[first:last].tobytes(), names[first:last],
        )  # fmt: skip
    return out


def split_paid(columns: PaidColumns, max_bytes: int) -> list[PaidColumns]:
    """The same updates in records of at most about ``max_bytes``; all updates of a payment stay in one.

    Readers keep the last offset of a source that they applied: the second half of a payment would be taken for a repetition.
    """
    # most records are far below, whatever their ids: those are not looked at
    if len(columns.payments) + len(columns.ids) * _MAX_ID_BYTES <= max_bytes:
        return [columns]
    rows = np.frombuffer(columns.rows, dtype="<u4")
    size = len(columns.payments) + sum(len(name.encode()) for name in columns.ids)
    if size <= max_bytes or rows[0] == rows[-1]:
        return [columns]
    # the rows ascend: the middle one's payment begins the second half, or ends the first
    middle = int(rows[len(rows) // 2]) or 1
    cut = int(np.searchsorted(rows, middle))
    payments, cards = middle * PAYMENT.itemsize, middle * 4
    first = PaidColumns(
        columns.payments[:payments], columns.cards[:cards], columns.rows[: 4 * cut], columns.kinds[:cut], columns.ids[:cut],
    )  # fmt: skip
    second = PaidColumns(
        columns.payments[payments:], columns.cards[cards:], (rows[cut:] - middle).astype("<u4").tobytes(),
        columns.kinds[cut:], columns.ids[cut:],
    )  # fmt: skip
    return [*split_paid(first, max_bytes), *split_paid(second, max_bytes)]


def warm_packing() -> None:
    """Compile what ``pack_paid`` runs, before the first transaction waits for it."""
    none = np.zeros(0, dtype=np.int64)
    pack_paid(
        np.zeros(0, PAYMENT), none.astype(np.uint32), (), none.reshape(0, _KINDS), none, none.astype(bool)
    )


@njit(cache=True, nogil=True)
def _sorted_items(homes: Any, sources: Any, keep: Any) -> Any:
    """The m items, by source and partition and in their order there: row and kind of each (m,); which of its record's payments it
    is (m,); the rows of the payments of all records; and (records + 1, 2) where each record's items and payments begin.
    """
    n, kinds = homes.shape
    flat, pair = np.empty(n * kinds, dtype=np.int64), np.empty(n * kinds, dtype=np.int64)
    targets = homes.max() + 1 if homes.size else 1
    m = 0
    for i in range(n):
        for k in range(kinds):
            if keep[i] and homes[i, k] >= 0:
                flat[m], pair[m] = i * kinds + k, sources[i] * targets + homes[i, k]
                m += 1
    order = np.argsort(pair[:m], kind="mergesort")
    rows, used = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    of, payment = np.empty(m, dtype=np.uint8), np.empty(m, dtype=np.uint32)
    starts = np.zeros((m + 1, 2), dtype=np.int64)
    records = payments = 0
    for j in range(m):
        row = flat[order[j]] // kinds
        if j == 0 or pair[order[j]] != pair[order[j - 1]]:
            starts[records, 0], starts[records, 1] = j, payments
            records += 1
        # within a record rows ascend: each row's first item begins a payment
        if payments == starts[records - 1, 1] or used[payments - 1] != row:
            used[payments] = row
            payments += 1
        rows[j], of[j] = row, flat[order[j]] % kinds
        payment[j] = payments - 1 - starts[records - 1, 1]
    starts[records, 0], starts[records, 1] = m, payments
    return rows, of, payment, used[:payments], starts[: records + 1]


def unpack_paid(columns: PaidColumns) -> Paid:
    """The updates of a record, in its order.

    Raises:
        ValueError: the arrays do not match, or a value is out of range.
    """
    payments = np.frombuffer(columns.payments, dtype=PAYMENT)
    cards = np.frombuffer(columns.cards, dtype="<u4")
    rows = np.frombuffer(columns.rows, dtype="<u4")
    kinds = np.frombuffer(columns.kinds, dtype="u1")
    if len(cards) != len(payments) or not len(rows) == len(kinds) == len(columns.ids):
        raise ValueError("columns of payments differ in length")
    if len(rows) and (rows.max() >= len(payments) or kinds.max() >= _KINDS or not all(columns.ids)):
        raise ValueError("an item names no payment, no kind of entity, or no entity")
    for name, least, most in _RANGES if len(payments) else ():
        column = payments[name]
        if column.min() < least or column.max() >= most:
            raise ValueError(f"no such {name}: {column.min()} or {column.max()}")
    return Paid(payments[rows], cards[rows], kinds, columns.ids)


def unapplied_paid(paid: Paid, known: int) -> tuple[Paid, int]:
    """Updates above the last applied offset of their source (``known``), and the new last offset."""
    offsets = paid.payments["offset"]
    if not len(offsets):
        return paid, known
    newest = max(known, int(offsets.max()))
    unapplied = offsets > known
    if unapplied.all():
        return paid, newest
    ids = [name for name, new in zip(paid.ids, unapplied.tolist(), strict=True) if new]
    return Paid(paid.payments[unapplied], paid.cards[unapplied], paid.kinds[unapplied], ids), newest


def unapplied_of(
    batch: EntityItems, known: int, wanted: Collection[tuple[str, str]] | None = None
) -> tuple[list[EntityItem], int]:
    """``unapplied_items`` and ``unapplied_paid`` as single updates; ``wanted``: of these (entity, id) only.

    Raises:
        ValueError: as ``unpack_paid``.
    """
    items, newest = unapplied_items(batch.items, known)
    items = [i for i in items if wanted is None or (i.entity, i.entity_id) in wanted]
    if batch.paid is None:
        return items, newest
    paid, newest_paid = unapplied_paid(unpack_paid(batch.paid), known)
    for i, (kind, name) in enumerate(zip(paid.kinds.tolist(), paid.ids, strict=True)):
        entity = PAID_ENTITIES[kind]
        if wanted is None or (entity, name) in wanted:
            items.append(_item(entity, name, paid.payments[i], int(paid.cards[i])))
    return items, max(newest, newest_paid)


def unapplied_items(items: Sequence[EntityItem], known: int) -> tuple[list[EntityItem], int]:
    """Updates above the last applied offset of their source, and the new last offset. Label updates pass: see ``newer_statement``."""
    unapplied = [item for item in items if item.said is not None or item.offset > known]
    return unapplied, max((item.offset for item in unapplied if item.said is None), default=known)


def _item(entity: str, name: str, row: Any, card: int) -> EntityItem:
    payment = None
    if entity == "customer":
        known = [float(row[field]) for field in ("latitude", "longitude", "channel", "mcc")]
        payment = Payment(
            *(int(row[field]) for field in ("id_hash", "merchant_hash", "device_hash", "country")),
            *(None if value != value else value for value in known),
        )
    return EntityItem(
        entity, name, "tx", int(row["offset"]), int(row["event_ms"]), int(row["amount"]), card, 0, payment
    )
