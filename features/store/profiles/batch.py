"""Reads all profiles of a batch in one round trip: which profiles are needed, the commands that fetch them, their arenas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import hiredis
import numpy as np
import numpy.typing as npt

from features.engine import Arena, Places, Profiles, computed, entities_as_of, frauds_as_of, known_before
from features.kernels.columns import Payments
from features.profile.codec import read_profiles
from features.profile.records import (
    FRAUDS,
    PAYER,
    SHARED_ENTITY,
    new_arena,
)
from features.store.commands import pack_mget
from features.store.redis_client import Command
from features.store.views import (
    CARD_FRAUDS,
    CARD_STATE,
    CUSTOMER_FRAUDS,
    CUSTOMER_STATE,
    DEVICE_STATE,
    IP_STATE,
    MERCHANT_STATE,
    View,
)


class HasEntities(Protocol):
    """The identifiers of a transaction."""

    @property
    def card_id(self) -> str: ...
    @property
    def merchant_id(self) -> str: ...
    @property
    def device_id(self) -> str | None: ...
    @property
    def ip(self) -> str | None: ...
    @property
    def customer_id(self) -> str | None: ...


class StoreRefused(Exception):
    """Redis answered a read with an error."""


SHARED_ENTITY_VIEWS = (MERCHANT_STATE, DEVICE_STATE, IP_STATE)
#: keys in one command, so that replies to a large batch that come in time are used, and other clients' commands run in between
MAX_KEYS = 64
#: view -> column of its entity in (card, customer, merchant, device, ip)
_COLUMNS = {
    CARD_STATE: 0, CARD_FRAUDS: 0, CUSTOMER_STATE: 1, CUSTOMER_FRAUDS: 1, MERCHANT_STATE: 2, DEVICE_STATE: 3, IP_STATE: 4,
}  # fmt: skip


class _Read(NamedTuple):
    """One command: a view of n entities of one kind, from its ``first`` on. In the arena, profiles of this kind start at ``begin``."""

    view: View
    ids: list[str]
    first: int
    arena: Arena
    begin: int


class Gather:
    """Profiles of one batch of n transactions. Build, send ``commands``, ``load`` the replies, ``compute``.

    ``cards``, ``customers``, ``shared_entities`` and ``frauds`` are arenas in order of first appearance (frauds: cards first, then
    customers). The slots of each transaction, -1 for an absent id: ``card_slots`` and ``customer_slots`` (n,),
    ``shared_entity_slots`` (n, 3: merchant, device, ip), ``fraud_slots`` (n, 2: card, customer).
    """

    def __init__(self, transactions: Sequence[HasEntities]) -> None:
        n = len(transactions)
        self.card_ids: dict[str, int] = {}
        self.customer_ids: dict[str, int] = {}
        self._shared_entities: dict[str, dict[str, int]] = {view.entity: {} for view in SHARED_ENTITY_VIEWS}
        cards, customers = self.card_ids, self.customer_ids
        merchants, devices, ips = self._shared_entities.values()
        card_slots, customer_slots, shared_entities = [], [], []
        for tx in transactions:
            card_slots.append(cards.setdefault(tx.card_id, len(cards)))
            customer = tx.customer_id
            customer_slots.append(customers.setdefault(customer, len(customers)) if customer else -1)
            device, ip = tx.device_id, tx.ip
            shared_entities.append(merchants.setdefault(tx.merchant_id, len(merchants)))
            shared_entities.append(devices.setdefault(device, len(devices)) if device else -1)
            shared_entities.append(ips.setdefault(ip, len(ips)) if ip else -1)
        self.card_slots = np.array(card_slots, dtype=np.int64)
        self.customer_slots = np.array(customer_slots, dtype=np.int64)
        self.shared_entity_slots = np.array(shared_entities, dtype=np.int64).reshape(n, 3)
        # one arena: merchants, then devices, then addresses
        before = np.array([0, len(merchants), len(merchants) + len(devices)])
        self.shared_entity_slots += np.where(self.shared_entity_slots >= 0, before, 0)
        customer_frauds = np.where(self.customer_slots >= 0, self.customer_slots + len(cards), -1)
        self.fraud_slots = np.column_stack([self.card_slots, customer_frauds])
        self.cards = new_arena(PAYER, len(cards))
        self.customers = new_arena(PAYER, len(customers))
        self.shared_entities = new_arena(SHARED_ENTITY, len(merchants) + len(devices) + len(ips))
        self.frauds = new_arena(FRAUDS, len(cards) + len(customers))

    def commands(self, partitions: int) -> list[Command]:
        """MGETs of each view that is needed; ``partitions``: per topic."""
        return [pack_mget(read.view, read.ids, partitions) for read in self._reads()]

    @property
    def reads(self) -> int:
        """Number of replies to ``commands``."""
        return len(self._reads())

    def unread(self, answered: int) -> npt.NDArray[np.bool_]:
        """Profiles that the first ``answered`` replies lack, bool (n, 5): card, customer, merchant, device, ip."""
        before = [len(ids) for ids in self._shared_entities.values()]
        shared = self.shared_entity_slots - np.cumsum([0, *before[:2]])
        slots = np.column_stack([self.card_slots, self.customer_slots, shared])
        late = np.zeros(slots.shape, dtype=np.bool_)
        for read in self._reads()[answered:]:
            column = _COLUMNS[read.view]
            own = slots[:, column]
            late[:, column] |= (own >= read.first) & (own < read.first + len(read.ids))
        return late

    def load(self, replies: Sequence[Any]) -> None:
        """Fill the arenas from the replies of ``commands``, or from the first few of them.

        Raises:
            StoreRefused: a reply is an error. ProfileError: a value is not a profile that this code reads.
        """
        for read, reply in zip(self._reads(), replies, strict=False):
            if isinstance(reply, hiredis.ReplyError):
                raise StoreRefused(str(reply))
            read_profiles(read.arena, np.arange(len(reply)) + read.begin + read.first, reply)

    def _reads(self) -> list[_Read]:
        """Most important first (cards and customers): a near deadline drops reads from the end."""
        cards, customers = list(self.card_ids), list(self.customer_ids)
        every = [
            *_pieces(CARD_STATE, cards, self.cards, 0),
            *_pieces(CARD_FRAUDS, cards, self.frauds, 0),
            *_pieces(CUSTOMER_STATE, customers, self.customers, 0),
            *_pieces(CUSTOMER_FRAUDS, customers, self.frauds, len(cards)),
        ]
        begin = 0
        for view in SHARED_ENTITY_VIEWS:
            ids = list(self._shared_entities[view.entity])
            every += _pieces(view, ids, self.shared_entities, begin)
            begin += len(ids)
        return every

    def compute(
        self, columns: Payments, *, apply: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Features of the batch, float32 (n, WIDTH), and ``seen`` of ``features.engine.fill_features``, uint8 (n,).

        With ``apply`` the batch is also applied to the cards' arena.
        """
        return computed(columns, self._places(), self._profiles(), apply=apply)

    def known_before(self, event_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """See ``features.engine.known_before``."""
        return known_before(event_ms, self._places(), self._profiles())

    def entity_as_of(self) -> npt.NDArray[np.int64]:
        """See ``features.engine.entities_as_of``."""
        return entities_as_of(self._places(), self._profiles())

    def frauds_as_of(self) -> npt.NDArray[np.int64]:
        """See ``features.engine.frauds_as_of``."""
        return frauds_as_of(self._places(), self._profiles())

    def _places(self) -> Places:
        return Places(self.card_slots, self.customer_slots, self.shared_entity_slots, self.fraud_slots)

    def _profiles(self) -> Profiles:
        return Profiles(self.cards, self.customers, self.shared_entities, self.frauds)


def _pieces(view: View, ids: list[str], arena: Arena, begin: int) -> list[_Read]:
    return [
        _Read(view, ids[first : first + MAX_KEYS], first, arena, begin)
        for first in range(0, len(ids), MAX_KEYS)
    ]
