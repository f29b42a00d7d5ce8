"""The newest transactions by identity: which were accepted, with what content, and where on the log. Pure.

An identity is a keyed 64-bit hash of its text (``features.store.profiles.slot_table``), its content a 32-bit hash of card, merchant, amount,
currency and time: of two million transactions none is taken for another with a probability of 1e-7 a lifetime of the table.
Two generations of fixed size bound the memory. When the newer one is full, the older one is forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.kernels.columns import PAYMENT, Payments
from features.store.profiles.slot_table import keyed_hashes

#: entries of a generation, a power of two; at most half of them are used. 24 bytes each, touched only as they fill
SLOTS = 1 << 21
#: what a transaction is: the first of its identity; one that came before, with the same content or with another
FIRST, REPEATED, CONFLICT = 0, 1, 2
#: its first record was refused after it was applied, and a person sent it again
ANEW = 4
#: so many bits of a place are its offset, the others its partition
OFFSET_BITS = 48
#: no event time is before it
NEVER_MS = -(2**62)

Hashes = npt.NDArray[np.uint64]
Contents = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]
Verdicts = npt.NDArray[np.uint8]


class Met(NamedTuple):
    """What n transactions are, (n,), and the place of the first of their identity, -1 where it is not known."""

    verdicts: Verdicts
    firsts: Places


def place_of(partition: int, offset: int) -> int:
    """A record's place on `transactions` as one number."""
    return partition << OFFSET_BITS | offset


class IdentityTable:
    """Up to ``slots`` of the newest identities, at least half as many."""

    def __init__(self, slots: int = SLOTS, *, resident: bool = False) -> None:
        """``resident``: has the memory of both generations from the start, so that a worker does not grow until a million identities later."""
        self._slots = slots
        self._newer, self._older = _generation(slots), _generation(slots)
        if resident:
            self._older.fill(0)
        self._used = 0
        #: greatest event times, ms, of the newer and the older generation
        self._newest_ms = self._older_newest_ms = NEVER_MS
        #: greatest event time of what was forgotten, ms
        self.forgotten_ms = NEVER_MS

    def meet(
        self,
        names: Hashes,
        contents: Contents,
        places: Places,
        known: Verdicts,
        event_ms: npt.NDArray[np.int64],
    ) -> Met:
        """What n transactions are, in order; the first ones are kept. Call ``make_room`` before.

        Args:
            known: (n,), what is known of them from elsewhere, FIRST if nothing. Those that are not FIRST are not kept.
        """
        met = Met(np.empty(len(names), dtype=np.uint8), np.empty(len(names), dtype=np.int64))
        self._used += _meet(names, contents, places, known, self._newer, self._older, *met)
        self._newest_ms = max(self._newest_ms, int(event_ms.max(initial=NEVER_MS)))
        return met

    def make_room(self, n: int) -> None:
        """Make room for n more. This may forget the older generation, so ask what was forgotten only afterwards."""
        if 2 * (self._used + n) > self._slots:
            self.forget_before(self._older_newest_ms)
            self._older, self._older_newest_ms = self._newer, self._newest_ms
            self._newer, self._newest_ms, self._used = _generation(self._slots), NEVER_MS, 0

    def move(self, name: int, place: int) -> None:
        """The record at ``place`` is the first of its identity from now on."""
        _move(np.uint64(name), place, self._newer, self._older)

    def forget_before(self, event_ms: int) -> None:
        """Nothing up to this event time is known for certain."""
        self.forgotten_ms = max(self.forgotten_ms, event_ms)


def contents_of(payments: Payments, cards: npt.NDArray[np.uint32]) -> Contents:
    """The content of n payments, uint32 (n,); ``cards``: hashes of their cards."""
    out = np.empty(len(payments), dtype=np.uint32)
    _mix(payments, cards, out)
    return out


def warm_identities() -> None:
    """Compile what the table runs, before the first transaction waits for it."""
    none = np.zeros(0, dtype=np.int64)
    names = keyed_hashes(none.astype(np.uint8), np.zeros(1, dtype=np.int64), (0, 0))
    contents = contents_of(np.zeros(0, PAYMENT), none.astype(np.uint32))
    table = IdentityTable(2)
    table.meet(names, contents, none, none.astype(np.uint8), none)
    table.move(0, 0)


def _generation(slots: int) -> npt.NDArray[np.uint64]:
    """Name, place + 1 (0: free) and content of each entry."""
    return np.zeros((slots, 3), dtype=np.uint64)


@njit(cache=True, nogil=True)
def _meet(
    names: Any, contents: Any, places: Any, known: Any, newer: Any, older: Any, verdicts: Any, firsts: Any
) -> int:
    added = 0
    for i in range(names.shape[0]):
        firsts[i], verdicts[i] = -1, known[i]
        if known[i] != FIRST:
            continue
        at, held = _entry(names[i], newer), newer
        if newer[at, 1] == 0:
            other = _entry(names[i], older)
            if older[other, 1] == 0:
                newer[at, 0], newer[at, 1], newer[at, 2] = names[i], places[i] + 1, contents[i]
                added += 1
                continue
            at, held = other, older
        firsts[i] = np.int64(held[at, 1]) - 1
        verdicts[i] = REPEATED if held[at, 2] == contents[i] else CONFLICT
    return added


@njit(cache=True, nogil=True)
def _move(name: Any, place: int, newer: Any, older: Any) -> None:
    for table in (newer, older):
        at = _entry(name, table)
        if table[at, 1] != 0:
            table[at, 1] = place + 1


@njit(cache=True, nogil=True)
def _entry(name: Any, table: Any) -> Any:
    """Where a name is in a table, or would be."""
    mask = np.uint64(table.shape[0] - 1)
    at = name & mask
    while table[at, 1] != 0 and table[at, 0] != name:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True, nogil=True)
def _mix(payments: Any, cards: Any, out: Any) -> None:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over the fields, one after the other."""
    for i in range(out.shape[0]):
        tx = payments[i]
        h = _mixed(np.uint64(cards[i]) << np.uint64(32) | np.uint64(tx.merchant_hash))
        h = _mixed(h ^ np.uint64(tx.amount))
        h = _mixed(h ^ np.uint64(tx.event_ms))
        # three letters are a whole number, others NaN
        currency = np.uint64(tx.currency) if tx.currency == tx.currency else np.uint64(1 << 20)
        out[i] = np.uint32(_mixed(h ^ currency) & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True, inline="always")
def _mixed(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
