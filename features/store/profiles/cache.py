"""Cache of profiles in the process that writes them: each is read from Redis once and then only written.

A partition's state has one writer (decision 4), so while this worker holds a partition, Redis holds what this worker read or wrote
last. Entities on another worker's partitions are read again with every batch. Without the cache, reads take half of Redis' work
and a third of the processor's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import hiredis
import numpy as np
import numpy.typing as npt

from features.engine import Arena, Places, Profiles, Slots
from features.profile.codec import read_profiles, words_of
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.store.commands import pack_mget, pack_mset
from features.store.partitions import Ids, entity_partitions, ids_together
from features.store.profiles.batch import MAX_KEYS, StoreRefused
from features.store.profiles.slot_table import SlotTable
from features.store.redis_client import Command, Packed
from features.store.sweep import day_of
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

#: bytes that profiles may take between batches; above this the largest kind is dropped and read again when needed
BUDGET_BYTES = 1 << 30
#: additional slots for the new entities of one batch; with more of them an arena grows
BATCH_ROOM = 8_192
#: empty profiles as words: NumPy assigns records field by field, which is slower
_EMPTY = {dtype: words_of(new_arena(dtype, 1))[0] for dtype in (PAYER, SHARED_ENTITY, FRAUDS)}
#: arena -> the kinds of entities in it; the frauds of cards and customers have one more arena
_KEPT = {"card": ("card",), "customer": ("customer",), "shared_entity": ("merchant", "device", "ip")}
_DTYPES = {"card": PAYER, "customer": PAYER, "shared_entity": SHARED_ENTITY}


class _Table:
    """The cached entities of one kind, and which of them must be read before the current batch is computed."""

    def __init__(self, entity: str, views: tuple[View, ...], shared: tuple[View, ...]) -> None:
        """``views``: all views of such an entity. ``shared``: those that the writer of its `entities` partition writes."""
        self.entity, self.views, self.shared = entity, views, shared
        self.clear()

    def clear(self) -> None:
        self._slots = SlotTable()
        self.names: list[str] = []
        self.homes: npt.NDArray[np.int64] = np.full(1024, -1)
        self.missing: list[int] = []
        #: slots of entities on other workers' partitions of `entities`: all of them, and those in the current batch
        self.not_owned: set[int] = set()
        self.stale: set[int] = set()

    def slots(self, of: Ids, partitions: int) -> tuple[Slots, list[int]]:
        """The slot of each id, -1 where there is none; and the slots that are new, which belong to this table from now on."""
        ids, names = of
        found, hashes = self._slots.find(names.text, names.ends)
        unknown = (found == -2).nonzero()[0]
        if not len(unknown):
            return found, []
        homes = entity_partitions(self.entity, names, partitions)[unknown]
        fresh: list[int] = []
        for i, home in zip(unknown.tolist(), homes.tolist(), strict=True):
            slot = self._slots.add(hashes[i], len(self.names))
            if slot == len(self.names):
                # otherwise the id was added earlier in this batch
                self._add(ids[i] or "", home)
                fresh.append(slot)
            found[i] = slot
        return found, fresh

    def _add(self, name: str, home: int) -> None:
        slot = len(self.names)
        self.names.append(name)
        if slot >= len(self.homes):
            self.homes = np.concatenate([self.homes, np.full(len(self.homes), -1)])
        self.homes[slot] = home
        self.missing.append(slot)


class EntityIds(NamedTuple):
    """Whose n transactions are."""

    card: Ids
    customer: Ids
    merchant: Ids
    device: Ids
    ip: Ids


class _Read(NamedTuple):
    """One read command: a view of the entities in ``slots``."""

    slots: Sequence[int]
    view: View


class ProfileCache:
    """Profiles of one worker. For each batch: ``begin_batch``, ``slots`` (or ``places``), send ``reads``, ``load`` the replies.

    A slot belongs to an entity until ``begin_batch`` drops its kind. A caller that changes a profile here must write it to Redis, in
    the order of batches and before a dropped kind is read again, or end the process.
    """

    def __init__(
        self,
        partitions: int,
        budget_bytes: int = BUDGET_BYTES,
        clock: Callable[[], float] = time.time,
        room: int = BATCH_ROOM,
    ) -> None:
        """``partitions``: per topic; ``budget_bytes`` bounds the profiles between batches; ``clock``: seconds since 1970; ``room``:
        initial slots of each kind beyond the budget.
        """
        self.partitions = partitions
        self._room = room
        self._clock = clock
        self._budget = budget_bytes
        self._tables = {
            "card": _Table("card", (CARD_STATE, CARD_FRAUDS), (CARD_FRAUDS,)),
            "customer": _Table("customer", (CUSTOMER_STATE, CUSTOMER_FRAUDS), (CUSTOMER_STATE, CUSTOMER_FRAUDS)),
            "merchant": _Table("merchant", (MERCHANT_STATE,), (MERCHANT_STATE,)),
            "device": _Table("device", (DEVICE_STATE,), (DEVICE_STATE,)),
            "ip": _Table("ip", (IP_STATE,), (IP_STATE,)),
        }  # fmt: skip
        self._owned: frozenset[int] = frozenset()
        self._asked: list[_Read] = []
        self._arenas = {name: self._new_arena(name) for name in _KEPT}
        self._arenas["frauds"] = np.zeros(len(self._arenas["card"]) + len(self._arenas["customer"]), FRAUDS)

    def begin_session(self, owned: Iterable[int]) -> None:
        """Drop everything; from now on this worker alone writes the ``owned`` partitions of `entities`."""
        self._owned = frozenset(owned)
        for table in self._tables.values():
            table.clear()

    def begin_batch(self) -> bool:
        """Start a batch, after the previous one is loaded. Above the budget, drops the largest kinds and returns True."""
        self._asked = []
        forgot = False
        while True:
            used = {name: self._used(name) for name in _KEPT}
            if sum(used.values()) <= self._budget:
                return forgot
            forgot = True
            largest = max(_KEPT, key=lambda name: used[name])
            for entity in _KEPT[largest]:
                self._tables[entity].clear()
            # a new arena, so that the old one's memory is freed
            self._arenas[largest] = self._new_arena(largest)

    def slots(self, entity: str, ids: Sequence[str | None]) -> Slots:
        """The slot of each entity, int64 (n,), -1 where there is no id. What is not here will be among ``reads``."""
        return self._slots(entity, *ids_together(ids))

    def _slots(self, entity: str, ids: Ids) -> Slots:
        table = self._tables[entity]
        found, fresh = table.slots(ids, self.partitions)
        table.not_owned.update(slot for slot in fresh if int(table.homes[slot]) not in self._owned)
        if table.not_owned:
            table.stale |= table.not_owned.intersection(found.tolist())
        return found

    def places(self, ids: EntityIds) -> Places:
        """The slots of each transaction's entities as the kernels take them."""
        cards, customers = self._slots("card", ids.card), self._slots("customer", ids.customer)
        shared_entities, frauds = np.empty((len(cards), 3), np.int64), np.empty((len(cards), 2), np.int64)
        for entity, kind in _SHARED_ENTITIES.items():
            shared_entities[:, kind] = _interleaved(self._slots(entity, getattr(ids, entity)), kind, 3)
        frauds[:, 0], frauds[:, 1] = _interleaved(cards, 0, 2), _interleaved(customers, 1, 2)
        return Places(cards, customers, shared_entities, frauds)

    def reads(self) -> list[Command]:
        """MGETs of the current batch's entities that are not cached, or that another worker writes."""
        commands: list[Command] = []
        for table in self._tables.values():
            self._make_room(table)
            stale = sorted(table.stale.difference(table.missing)) if table.stale else []
            for view in table.views:
                slots = [*table.missing, *stale] if view in table.shared else table.missing
                for start in range(0, len(slots), MAX_KEYS):
                    piece = slots[start : start + MAX_KEYS]
                    commands.append(pack_mget(view, [table.names[slot] for slot in piece], self.partitions))
                    self._asked.append(_Read(piece, view))
            table.missing, table.stale = [], set()
        return commands

    def load(self, replies: Sequence[Any]) -> None:
        """Store the replies to ``reads``.

        Raises:
            StoreRefused: a reply is an error. ProfileError: a value is not a profile that this code reads.
        """
        for (slots, view), reply in zip(self._asked, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                raise StoreRefused(str(reply))
            arena, places = self.profiles_of(view, np.array(slots, dtype=np.int64))
            words_of(arena)[places] = _EMPTY[arena.dtype]
            read_profiles(arena, places, reply)

    def write(self, view: View, slots: Slots) -> Packed:
        """The MSET that writes a view of the entities in ``slots``."""
        arena, places = self.profiles_of(view, slots)
        names = self.names(view.entity, slots.tolist())
        return pack_mset(view, names, arena, places, self.partitions, day_of(self._clock()))

    def profiles_of(self, view: View, slots: Slots) -> tuple[Arena, Slots]:
        """The arena of a view, and the index in it of each slot's profile."""
        if view in (CARD_STATE, CUSTOMER_STATE):
            return self._arenas[view.entity], slots
        if view in (CARD_FRAUDS, CUSTOMER_FRAUDS):
            return self._arenas["frauds"], _interleaved(slots, int(view is CUSTOMER_FRAUDS), 2)
        return self._arenas["shared_entity"], _interleaved(slots, _SHARED_ENTITIES[view.entity], 3)

    def profiles(self) -> Profiles:
        """All arenas, in the kernels' form."""
        return Profiles(*(self._arenas[name] for name in ("card", "customer", "shared_entity", "frauds")))

    def names(self, entity: str, slots: Collection[int]) -> list[str]:
        """The ids of the entities in ``slots``."""
        names = self._tables[entity].names
        return [names[slot] for slot in slots]

    def homes(self, entity: str, slots: Slots) -> npt.NDArray[np.int64]:
        """The partition of `entities` of each slot's entity, (n,), -1 for slot -1."""
        homes: npt.NDArray[np.int64] = np.where(slots >= 0, self._tables[entity].homes[slots], -1)
        return homes

    def _used(self, arena: str) -> int:
        return sum(len(self._tables[entity].names) for entity in _KEPT[arena]) * _DTYPES[arena].itemsize

    def _new_arena(self, name: str) -> Arena:
        # the operating system allocates pages only when they are first written
        kinds = len(_KEPT[name])
        return np.zeros(kinds * (self._budget // _DTYPES[name].itemsize + self._room), _DTYPES[name])

    def _make_room(self, table: _Table) -> None:
        for view in table.views:
            arena, last = self.profiles_of(view, np.array([len(table.names)], dtype=np.int64))
            if last[0] >= len(arena):
                name = next(key for key, known in self._arenas.items() if known is arena)
                self._arenas[name] = np.zeros(max(int(last[0]) + 1, 2 * len(arena)), arena.dtype)
                self._arenas[name][: len(arena)] = arena


_SHARED_ENTITIES = {"merchant": 0, "device": 1, "ip": 2}


def _interleaved(slots: Slots, kind: int, kinds: int) -> Slots:
    """Arena indices of slots of one of ``kinds`` kinds that share an arena; -1 stays."""
    out: Slots = np.where(slots >= 0, slots * kinds + kind, -1)
    return out
