"""The entity stage: a chunk of `entities` updates merchants, devices, ips, customers and cards' fraud histories, once.

Each partition of `entities` has one writer. Items name their source (topic, partition, offset); the last offset applied per
source is stored beside the profiles, in the same EXEC, so that repeated items are dropped. What a label says is known by
its transaction instead: whether the label or the decision brings it may differ when a crash has it repeated.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import hiredis
import msgspec
import numpy as np
from confluent_kafka import Producer

from features.codec import decode_profiles
from features.describe import counts_24h
from features.meeting_kernel import DAY_MS, FIVE_MS
from features.online.claims import Claims
from features.online.layout import KEEP_AGAIN_MS, View, unpack_bytes
from features.online.resp import Command, Packed, RespClient, StoreUnavailable
from features.online.wire import pack_hmget, pack_hset
from features.profiles import FRAUDS, new_arena
from streams.chunks import Chunk
from streams.dead_letters import dead_letter, send_dead_letter
from streams.events import InvalidEvent
from streams.kafka import flush
from streams.metrics import DUPLICATES, FEATURE_STALENESS, STAGE_SECONDS
from streams.processor.cards import ACKNOWLEDGE_WITHIN_S
from streams.processor.items import Known, apply, dtype_of, fresh_items, news_in, said_key, view_of
from streams.records import EntityItem, EntityItems, decode_items

Source = tuple[str, int]


class EntityStage:
    """Handles chunks of `entities` for the partitions that ``claims`` holds."""

    def __init__(self, client: RespClient, producer: Producer, claims: Claims) -> None:
        self._client = client
        self._producer = producer
        self._claims = claims
        self._applied: dict[int, dict[Source, int]] = {}
        self.rebuilding = False

    def _keep(self, poison: list[tuple[Any, InvalidEvent]]) -> None:
        """Poison records are kept for a person before the chunk counts as done."""
        if not poison:
            return
        now_ms = int(time.time() * 1000)
        for record, error in poison:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)

    def load_applied(self, partitions: list[int]) -> None:
        """Read, after an assignment, how far each source is applied on each partition."""
        replies = self._client.patient([("HGETALL", applied_key(partition)) for partition in partitions])
        self._applied = {}
        for partition, reply in zip(partitions, replies, strict=True):
            pairs = zip(reply[::2], reply[1::2], strict=True)
            self._applied[partition] = {_source(name): int(offset) for name, offset in pairs}

    def handle(self, chunk: Chunk) -> None:
        """Do one chunk wholly, or raise and leave it for the next worker."""
        if self.rebuilding:
            # whoever rebuilds the state reads these items from the log
            return
        started = time.monotonic()
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        applied = {tp.partition: dict(self._applied.get(tp.partition, {})) for tp in chunk.positions}
        items, offsets, poison = sort_items(chunk, applied)
        self._keep(poison)
        items, offsets, said = self._news(items, offsets)
        groups = group_items(items, offsets)
        guard = self._claims.guard(partitions)
        reads = [pack_hmget(list(group.slots), group.view) for group in groups]
        replies = self._client.patient([*guard, *reads])
        starts = {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()}
        self._claims.check(partitions, replies, starts)
        writes = _updated(groups, replies[len(guard) :])
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        self._claims.commit(partitions, [*writes, *said, *applied_writes(applied)], positions)
        self._applied.update(applied)
        if items:
            newest = max(item.event_ms for item in items)
            FEATURE_STALENESS.labels("merchant").set(max(0.0, time.time() - newest / 1000))
        STAGE_SECONDS.labels("entities").observe(time.monotonic() - started)

    def _news(
        self, items: list[EntityItem], offsets: list[int]
    ) -> tuple[list[EntityItem], list[int], list[Command]]:
        """The items that say something new, labels with the change that they make, and the writes that remember what was said.

        Read before the epochs are watched: nobody else writes it, and who has lost the partition is stopped by its epoch.
        """
        keys = list(dict.fromkeys(key for item in items if (key := said_key(item)) is not None))
        if not keys:
            return items, offsets, []
        (stored,) = self._client.patient([("MGET", *(_SAID + key for key in keys))])
        known = {key: _known(raw) for key, raw in zip(keys, stored, strict=True)}
        fresh, at, changed = news_in(items, offsets, known)
        if len(fresh) < len(items):
            DUPLICATES.labels("entities").inc(len(items) - len(fresh))
        return fresh, at, said_writes(changed)


MAX_MS = 4_102_444_800_000  # the year 2100
#: what was said of a transaction is remembered as long as the labels worker's index remembers it
SAID_FOR_S = 60 * 86_400
_SAID = "tollgate:processor:said:"


def said_writes(changed: dict[str, Known]) -> list[Command]:
    """Commands that remember what labels said."""
    return [
        ("SET", _SAID + key, f"{k.label_time_ms}:{k.offset}:{k.frauds}", "EX", SAID_FOR_S)
        for key, k in changed.items()
    ]


def _known(raw: bytes | None) -> Known | None:
    return Known(*map(int, raw.split(b":"))) if raw else None


def sort_items(
    chunk: Chunk, applied: dict[int, dict[Source, int]]
) -> tuple[list[EntityItem], list[int], list[tuple[Any, InvalidEvent]]]:
    """Items not applied yet, in order, with the offset of their record; ``applied`` moves on. And what is no such record."""
    items: list[EntityItem] = []
    offsets: list[int] = []
    poison: list[tuple[Any, InvalidEvent]] = []
    for record in chunk.records:
        try:
            batch = _checked(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
            poison.append((record, InvalidEvent("poison", "", f"not a record of entity items: {error}")))
            continue
        source = (batch.source_topic, batch.source_partition)
        known = applied[record.partition].get(source, -1)
        fresh, applied[record.partition][source] = fresh_items(batch.items, known)
        if len(fresh) < len(batch.items):
            DUPLICATES.labels("entities").inc(len(batch.items) - len(fresh))
        items += fresh
        offsets += [record.offset] * len(fresh)
    return items, offsets, poison


def _checked(value: bytes) -> EntityItems:
    batch = decode_items(value)
    for item in batch.items:
        view_of(item)
        if not 0 <= item.event_ms < MAX_MS:
            raise ValueError(f"no such time: {item.event_ms}")
    return batch


class Group(NamedTuple):
    """A chunk's items of one view, in order, and the slot of each entity."""

    view: View
    items: list[EntityItem]
    offsets: list[int]
    slots: dict[str, int]


def group_items(items: list[EntityItem], offsets: list[int]) -> list[Group]:
    """Items by the view that they change, in order."""
    groups: dict[str, Group] = {}
    for item, offset in zip(items, offsets, strict=True):
        view = view_of(item)
        group = groups.get(view.name)
        if group is None:
            group = groups[view.name] = Group(view, [], [], {})
        group.items.append(item)
        group.offsets.append(offset)
        group.slots.setdefault(item.entity_id, len(group.slots))
    return list(groups.values())


def _updated(groups: list[Group], replies: list[Any]) -> list[Command]:
    """Apply each group's items to what was read; the writes that follow."""
    writes: list[Command] = []
    start = 0
    for group in groups:
        read = replies[start : start + len(group.slots)]
        start += len(group.slots)
        for reply in read:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"the store refused a read: {reply}")
        arena = new_arena(dtype_of(group.view), len(group.slots))
        decode_profiles(arena, range(len(read)), [unpack_bytes(reply[0]) for reply in read])
        before = moments_of(arena)
        apply(group.items, [group.slots[item.entity_id] for item in group.items], group.offsets, arena)
        writes.append(profile_writes(group, arena, before))
    return writes


def moments_of(arena: Any) -> Any:
    """The event time of each profile's newest item, milliseconds, int64 (n,); of frauds and declines by their tiles."""
    if arena.dtype == FRAUDS:
        days, fives = arena["day"].astype(np.int64) * DAY_MS, arena["five"].astype(np.int64) * FIVE_MS
        return np.maximum(days, fives)
    return arena["last_ms"].copy()


def profile_writes(group: Group, arena: Any, before: Any) -> Packed:
    """One HSET per entity of a group; ``before``: its ``moments_of`` before the items were applied."""
    n = len(group.slots)
    moments = moments_of(arena)[:n]
    if arena.dtype == FRAUDS:
        scalars = arena["day_fraud"][:n].sum(axis=1, dtype=np.int64)[:, None]
    else:
        scalars = np.column_stack([moments, counts_24h(arena)[:n]])
    expire = before[:n] // KEEP_AGAIN_MS != moments // KEEP_AGAIN_MS
    slots = np.arange(n, dtype=np.int64)
    return pack_hset(group.view, list(group.slots), arena, slots, moments, scalars, expire)


def applied_key(partition: int) -> str:
    """Redis key of how far each source is applied on a partition of `entities`."""
    return f"tollgate:processor:applied:entities:{partition}"


def applied_writes(applied: dict[int, dict[Source, int]]) -> list[Command]:
    """Commands that say how far each source is applied, by partition of `entities`."""
    out: list[Command] = []
    for partition, sources in applied.items():
        for (topic, source), offset in sources.items():
            out.append(("HSET", applied_key(partition), f"{topic}:{source}", offset))
    return out


def _source(name: bytes) -> Source:
    topic, _, partition = name.decode().rpartition(":")
    return topic, int(partition)
