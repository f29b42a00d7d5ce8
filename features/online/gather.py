"""One read for a batch: which profiles its transactions need, the commands that fetch them, the arenas that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import hiredis
import numpy as np
import numpy.typing as npt

from features.columns import Payments
from features.engine import Places, Profiles, computed, entities_as_of, frauds_as_of
from features.online.layout import (
    CARD_FRAUDS,
    CARD_STATE,
    CUSTOMER_FRAUDS,
    CUSTOMER_STATE,
    DEVICE_STATE,
    IP_STATE,
    MERCHANT_STATE,
)
from features.online.resp import Command
from features.online.stored import columns_in, read_profiles
from features.online.wire import pack_hmget
from features.profiles import (
    FRAUDS,
    HOLDER,
    MEETING,
    new_arena,
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
    """The store answered a read with an error."""


MEETING_VIEWS = (MERCHANT_STATE, DEVICE_STATE, IP_STATE)
_OF_CARDS, _OF_CUSTOMERS = (CARD_STATE, CARD_FRAUDS), (CUSTOMER_STATE, CUSTOMER_FRAUDS)


class Gather:
    """Profiles of one batch of n transactions. Build, send ``commands``, ``load`` the replies, ``compute``.

    ``cards``, ``customers``, ``meetings`` and ``frauds`` are arenas in order of first appearance (frauds: those of cards, then
    those of customers). Which transaction uses which slot, -1 for an absent id: ``card_slots`` and ``customer_slots`` (n,),
    ``meeting_slots`` (n, 3: merchant, device, ip), ``fraud_slots`` (n, 2: card, customer).
    """

    def __init__(self, transactions: Sequence[HasEntities]) -> None:
        n = len(transactions)
        self.card_ids: dict[str, int] = {}
        self.customer_ids: dict[str, int] = {}
        self._meetings: dict[str, dict[str, int]] = {view.entity: {} for view in MEETING_VIEWS}
        cards, customers = self.card_ids, self.customer_ids
        merchants, devices, ips = self._meetings.values()
        card_slots, customer_slots, meetings = [], [], []
        for tx in transactions:
            card_slots.append(cards.setdefault(tx.card_id, len(cards)))
            customer = tx.customer_id
            customer_slots.append(customers.setdefault(customer, len(customers)) if customer else -1)
            device, ip = tx.device_id, tx.ip
            meetings.append(merchants.setdefault(tx.merchant_id, len(merchants)))
            meetings.append(devices.setdefault(device, len(devices)) if device else -1)
            meetings.append(ips.setdefault(ip, len(ips)) if ip else -1)
        self.card_slots = np.array(card_slots, dtype=np.int64)
        self.customer_slots = np.array(customer_slots, dtype=np.int64)
        self.meeting_slots = np.array(meetings, dtype=np.int64).reshape(n, 3)
        # one arena: merchants, then devices, then addresses
        before = np.array([0, len(merchants), len(merchants) + len(devices)])
        self.meeting_slots += np.where(self.meeting_slots >= 0, before, 0)
        customer_frauds = np.where(self.customer_slots >= 0, self.customer_slots + len(cards), -1)
        self.fraud_slots = np.column_stack([self.card_slots, customer_frauds])
        self.cards = new_arena(HOLDER, len(cards))
        self.customers = new_arena(HOLDER, len(customers))
        self.meetings = new_arena(MEETING, len(merchants) + len(devices) + len(ips))
        self.frauds = new_arena(FRAUDS, len(cards) + len(customers))

    def commands(self) -> list[Command]:
        """One HMGET per card, then one per customer, then one per merchant, device and ip."""
        return [
            pack_hmget(list(self.card_ids), CARD_STATE, CARD_FRAUDS),
            pack_hmget(list(self.customer_ids), CUSTOMER_STATE, CUSTOMER_FRAUDS),
            *(pack_hmget(list(self._meetings[view.entity]), view) for view in MEETING_VIEWS),
        ]

    @property
    def reads(self) -> int:
        """Replies to ``commands``."""
        return len(self.card_ids) + len(self.customer_ids) + sum(map(len, self._meetings.values()))

    def unread(self, answered: int) -> npt.NDArray[np.bool_]:
        """Which profiles are not in the first ``answered`` replies of ``commands``, (n, 5): of card, customer, merchant, device, ip."""
        holders = len(self.card_ids) + len(self.customer_ids)
        meetings = np.where(self.meeting_slots >= 0, self.meeting_slots + holders, -1)
        return np.hstack([self.fraud_slots, meetings]) >= answered

    def load(self, replies: Sequence[Any]) -> None:
        """Fill the arenas from the replies of ``commands``, or from the first of them.

        Raises:
            StoreRefused: a reply is an error. ProfileError: bytes that are no profile that this code reads.
        """
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreRefused(str(reply))
        cards = len(self.card_ids)
        holders = cards + len(self.customer_ids)
        merchants = holders + len(self._meetings["merchant"])
        (of_cards, cards_since), (card_frauds, _) = columns_in(replies[:cards], _OF_CARDS)
        (of_customers, customers_since), (customer_frauds, _) = columns_in(
            replies[cards:holders], _OF_CUSTOMERS
        )
        ((of_merchants, merchants_since),) = columns_in(replies[holders:merchants], [MERCHANT_STATE])
        # of devices and addresses the profile alone
        others = [reply[0] for reply in replies[merchants:]]
        for arena, profiles, since in (
            (self.cards, of_cards, cards_since),
            (self.customers, of_customers, customers_since),
            (self.meetings, [*of_merchants, *others], [*merchants_since, *[None] * len(others)]),
            (self.frauds, [*card_frauds, *customer_frauds], ()),
        ):
            read_profiles(arena, np.arange(len(profiles)), profiles, since)

    def compute(
        self, columns: Payments, *, apply: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Features of the batch, float32 (n, WIDTH), and ``seen`` as ``features.engine.fill_features`` says, uint8 (n,).

        With ``apply`` the cards' arena afterwards holds the batch.
        """
        return computed(columns, self._places(), self._profiles(), apply=apply)

    def entity_as_of(self) -> npt.NDArray[np.int64]:
        """See ``features.engine.entities_as_of``."""
        return entities_as_of(self._places(), self._profiles())

    def frauds_as_of(self) -> npt.NDArray[np.int64]:
        """See ``features.engine.frauds_as_of``."""
        return frauds_as_of(self._places(), self._profiles())

    def _places(self) -> Places:
        return Places(self.card_slots, self.customer_slots, self.meeting_slots, self.fraud_slots)

    def _profiles(self) -> Profiles:
        return Profiles(self.cards, self.customers, self.meetings, self.frauds)
