"""The entity stage: a chunk of `entities` updates merchants, devices, ips, customers and cards' fraud histories, once.

Each partition of `entities` has one writer. Items name their source (topic, partition, offset); the last offset applied per
source is stored beside the profiles, in the same EXEC, so that repeated items are dropped.
"""

from __future__ import annotations

import time
from typing import Any

import hiredis
import msgspec
import numpy as np
from confluent_kafka import Producer

from features.entity_kernel import apply_items
from features.online.claims import Claims
from features.online.layout import VIEW_OF_ENTITY, packed_hmget, packed_hset, unpack_bytes
from features.online.resp import Command, RespClient, StoreUnavailable
from features.profiles import ENTITY, HOUR_TILES, entity_state, load_into, new_arena
from streams.chunks import Chunk
from streams.dead_letters import dead_letter, send_dead_letter
from streams.events import InvalidEvent
from streams.kafka import flush
from streams.metrics import DUPLICATES, FEATURE_STALENESS, STAGE_SECONDS
from streams.processor.cards import ACKNOWLEDGE_WITHIN_S
from streams.records import EntityItem, EntityItems, decode_items

Source = tuple[str, int]


class EntityStage:
    """Handles chunks of `entities` for the partitions that ``claims`` holds."""

    def __init__(self, client: RespClient, producer: Producer, claims: Claims) -> None:
        self._client = client
        self._producer = producer
        self._claims = claims
        self._applied: dict[int, dict[Source, int]] = {}

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
        replies = self._client.patient([("HGETALL", _applied_key(partition)) for partition in partitions])
        self._applied = {}
        for partition, reply in zip(partitions, replies, strict=True):
            pairs = zip(reply[::2], reply[1::2], strict=True)
            self._applied[partition] = {_source(name): int(offset) for name, offset in pairs}

    def handle(self, chunk: Chunk) -> None:
        """Do one chunk wholly, or raise and leave it for the next worker."""
        started = time.monotonic()
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        applied = {tp.partition: dict(self._applied.get(tp.partition, {})) for tp in chunk.positions}
        items, offsets, poison = _fresh_items(chunk, applied)
        self._keep(poison)
        slots: dict[tuple[str, str], int] = {}
        item_slots = [slots.setdefault((item.entity, item.entity_id), len(slots)) for item in items]
        guard = self._claims.guard(partitions)
        reads = [
            packed_hmget(VIEW_OF_ENTITY[kind].entity, name, VIEW_OF_ENTITY[kind]) for kind, name in slots
        ]
        replies = self._client.patient([*guard, *reads])
        starts = {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()}
        self._claims.check(partitions, replies, starts)
        arena = new_arena(ENTITY, max(1, len(slots)))
        for slot, reply in enumerate(replies[len(guard) :]):
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"the store refused a read: {reply}")
            load_into(arena, slot, unpack_bytes(reply[0]))
        _apply(items, item_slots, offsets, arena)
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        self._claims.commit(partitions, [*_writes(slots, arena), *_applied_writes(applied)], positions)
        self._applied.update(applied)
        if items:
            newest = max(item.event_ms for item in items)
            FEATURE_STALENESS.labels("merchant").set(max(0.0, time.time() - newest / 1000))
        STAGE_SECONDS.labels("entities").observe(time.monotonic() - started)


MAX_MS = 4_102_444_800_000  # the year 2100


def _fresh_items(
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
        fresh = [item for item in batch.items if item.offset > known]
        if len(fresh) < len(batch.items):
            DUPLICATES.labels("entities").inc(len(batch.items) - len(fresh))
        if not fresh:
            continue
        items += fresh
        offsets += [record.offset] * len(fresh)
        applied[record.partition][source] = fresh[-1].offset
    return items, offsets, poison


def _checked(value: bytes) -> EntityItems:
    batch = decode_items(value)
    for item in batch.items:
        if item.entity not in VIEW_OF_ENTITY or not 0 <= item.event_ms < MAX_MS:
            raise ValueError(f"no such entity or time: {item.entity} at {item.event_ms}")
    return batch


def _apply(items: list[EntityItem], slots: list[int], offsets: list[int], arena: Any) -> None:
    if not items:
        return
    apply_items(
        np.array(slots, dtype=np.int64),
        np.array(offsets, dtype=np.int64),
        np.array([item.kind == "label" for item in items], dtype=np.bool_),
        np.array([item.event_ms for item in items], dtype=np.int64),
        np.array([item.amount_minor for item in items], dtype=np.int64),
        np.array([item.card_hash for item in items], dtype=np.uint32),
        np.array([item.frauds for item in items], dtype=np.int64),
        entity_state(arena),
    )


def _writes(slots: dict[tuple[str, str], int], arena: Any) -> list[Command]:
    day = arena["hour_count"].sum(axis=1)
    # the ring of hour tiles holds two more than a day: the oldest are left out of the published count
    newest = arena["hour"].astype(np.int64)
    rows = np.arange(len(arena))
    for extra in (24, 25):
        day = day - arena["hour_count"][rows, (newest - extra) % HOUR_TILES]
    last_ms, counts = arena["last_ms"].tolist(), day.tolist()
    return [
        packed_hset(
            VIEW_OF_ENTITY[kind], name, last_ms[slot], arena[slot].tobytes(), last_ms[slot], counts[slot]
        )
        for (kind, name), slot in slots.items()
    ]


def _applied_key(partition: int) -> str:
    return f"tollgate:processor:applied:entities:{partition}"


def _applied_writes(applied: dict[int, dict[Source, int]]) -> list[Command]:
    out: list[Command] = []
    for partition, sources in applied.items():
        for (topic, source), offset in sources.items():
            out.append(("HSET", _applied_key(partition), f"{topic}:{source}", offset))
    return out


def _source(name: bytes) -> Source:
    topic, _, partition = name.decode().rpartition(":")
    return topic, int(partition)
