"""One read for a batch: which profiles its transactions need, the commands that fetch them, the arenas that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import hiredis
import numpy as np
import numpy.typing as npt

from features.card_kernel import card_features
from features.catalogue import WIDTH
from features.columns import Columns
from features.entity_kernel import entity_features
from features.online.layout import (
    CARD_FRAUDS,
    CARD_STATE,
    CUSTOMER_STATE,
    DEVICE_STATE,
    IP_STATE,
    MERCHANT_STATE,
    View,
    packed_hmget,
    unpack_bytes,
)
from features.online.resp import Command
from features.profiles import CARD, ENTITY, card_state, entity_state, load_into, new_arena


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


_VIEWS = (MERCHANT_STATE, DEVICE_STATE, IP_STATE, CUSTOMER_STATE)


class Gather:
    """Profiles of one batch. Build, send ``commands``, ``load`` the replies, ``compute``.

    ``cards`` and ``entities`` are arenas in order of first appearance; ``card_slots`` (n,) and ``entity_slots`` (n, 5:
    merchant, device, ip, customer, the card's fraud history) say which transaction uses which slot, -1 for an absent id.
    """

    def __init__(self, transactions: Sequence[HasEntities]) -> None:
        n = len(transactions)
        self.card_ids: dict[str, int] = {}
        self.card_slots = np.empty(n, dtype=np.int64)
        self.entity_slots = np.full((n, 5), -1, dtype=np.int64)
        self._entities: dict[tuple[str, str], int] = {}
        self._views: list[View] = []
        slots = self.entity_slots
        for i, tx in enumerate(transactions):
            self.card_slots[i] = self.card_ids.setdefault(tx.card_id, len(self.card_ids))
            slots[i, 0] = self._slot(MERCHANT_STATE, tx.merchant_id)
            if tx.device_id:
                slots[i, 1] = self._slot(DEVICE_STATE, tx.device_id)
            if tx.ip:
                slots[i, 2] = self._slot(IP_STATE, tx.ip)
            if tx.customer_id:
                slots[i, 3] = self._slot(CUSTOMER_STATE, tx.customer_id)
        slots[:, 4] = self.card_slots + len(self._entities)
        self.cards = new_arena(CARD, max(1, len(self.card_ids)))
        self.entities = new_arena(ENTITY, max(1, len(self._entities) + len(self.card_ids)))

    def _slot(self, view: View, entity_id: str) -> int:
        slot = self._entities.setdefault((view.entity, entity_id), len(self._entities))
        if slot == len(self._views):
            self._views.append(view)
        return slot

    def commands(self) -> list[Command]:
        """One HMGET per card, then one per other entity."""
        out: list[Command] = [
            packed_hmget("card", card_id, CARD_STATE, CARD_FRAUDS) for card_id in self.card_ids
        ]
        out += [
            packed_hmget(view.entity, key[1], view)
            for key, view in zip(self._entities, self._views, strict=True)
        ]
        return out

    def load(self, replies: Sequence[Any]) -> None:
        """Fill the arenas from the replies of ``commands``.

        Raises:
            StoreRefused: a reply is an error. ProfileError: a profile of another version.
        """
        cards = len(self.card_ids)
        others = len(self._entities)
        for slot, reply in enumerate(replies):
            if isinstance(reply, hiredis.ReplyError):
                raise StoreRefused(str(reply))
            if slot < cards:
                load_into(self.cards, slot, unpack_bytes(reply[0]))
                load_into(self.entities, others + slot, unpack_bytes(reply[1]))
            else:
                load_into(self.entities, slot - cards, unpack_bytes(reply[0]))

    def compute(
        self, columns: Columns, *, apply: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Features of the batch, float32 (n, WIDTH), and which rows were seen before, uint8 (n,).

        With ``apply`` the cards' arena afterwards holds the batch.
        """
        n = len(self.card_slots)
        out = np.full((n, WIDTH), np.nan, dtype=np.float32)
        seen = np.zeros(n, dtype=np.uint8)
        card_features(columns, self.card_slots, card_state(self.cards), apply, out, seen)
        entity_features(columns.event_ms, self.entity_slots, entity_state(self.entities), out)
        return out, seen

    def entity_as_of(self) -> npt.NDArray[np.int64]:
        """Offsets of `entities` last applied to merchant, device, ip and customer of each row, (n, 4); -1 unknown."""
        offsets = np.append(self.entities["offset"], -1)
        result: npt.NDArray[np.int64] = offsets[self.entity_slots[:, :4]]
        return result

    def frauds_as_of(self) -> npt.NDArray[np.int64]:
        """Offsets of `entities` last applied to the fraud history of each row's card, (n,); -1 unknown."""
        result: npt.NDArray[np.int64] = self.entities["offset"][self.entity_slots[:, 4]]
        return result
