"""``tollgate features rebuild``: the state made again from the log, while decisions go on without it, as degraded.

A marker in the store tells processor and HTTP edge that there is no state; raised epochs shut out who still writes. Each
partition is read by a process of its own, which writes its profiles; positions come last, all at once, with the marker's end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.online.claims import REBUILDING_KEY, Claims
from features.online.layout import JOIN_KEYS, key_prefix
from features.online.resp import Command, Packed, RespClient, StoreUnavailable
from streams.ledger.spans import Span, read_span, whole_log
from streams.parity import LogRow
from streams.process import quiet_collector
from streams.processor.entities import applied_key
from streams.processor.intake import Stretch
from streams.processor.lost import GROUP, committed
from streams.rebuild import ROUND, CardBuilder, Done, EntityBuilder
from streams.settings import Settings, load_settings
from streams.topics import ENTITIES, TRANSACTIONS

Say = Callable[[str], None]
SAY_EVERY_S = 2.0
#: a worker that says nothing for so long is taken for dead
STALL_S = 300.0
_told: Any = None


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild read and wrote."""

    transactions: int
    items: int
    entities: int
    seconds: float


def rebuild(settings: Settings, say: Say, *, clear: bool = False) -> Rebuilt:
    """Make the processor's state again.

    Args:
        clear: take away every stored profile first, also of entities that the log no longer knows (needed when stored
            profiles cannot be read any more).

    Raises:
        StoreUnavailable: Redis went away; run it again. LedgerUnreachable: the broker did. TimeoutError: a worker stood still.
    """
    started = time.monotonic()
    client = RespClient(settings.redis_address)
    claims = Claims(client, GROUP)
    told = {"why": "a rebuild is at work, or died", "since": datetime.now(UTC).isoformat(timespec="seconds")}
    client.patient([("SET", REBUILDING_KEY, json.dumps(told))])
    first, end = whole_log(settings.kafka, [TRANSACTIONS.name, ENTITIES.name])
    places = [(topic, partition) for topic, partitions in end.items() for partition in partitions]
    # from here on nobody who was at work can write: their epochs are old
    claims.claim(places)
    if clear:
        say(f"taking away stored profiles: {_clear(client):,} are gone")
    # up to here every transaction has its features; the processor goes on from here
    handled = committed(settings, [place for place in places if place[0] == TRANSACTIONS.name])
    ends = {
        place: min(handled[place], end[place[0]][place[1]]) if place in handled else end[place[0]][place[1]]
        for place in places
    }
    _warn_truncated(first, say)
    writes, total = _work(settings, first, ends, say)
    block: list[Command] = [("MULTI",), *(("DEL", applied_key(p)) for p in end[ENTITIES.name])]
    block += [*writes, *claims.place(ends), ("DEL", REBUILDING_KEY), ("EXEC",)]
    # refused, nothing of the block is done: decisions stay without state, and say so
    _accepted(client.patient(block))
    client.close()
    return Rebuilt(
        total[TRANSACTIONS.name], total[ENTITIES.name], total["written"], time.monotonic() - started
    )


def _warn_truncated(first: Span, say: Say) -> None:
    kept = [
        f"{topic}[{p}] from offset {offset:,}"
        for topic, ps in first.items()
        for p, offset in ps.items()
        if offset
    ]
    if kept:
        say(
            "the log does not go back to its beginning: windows know what it still holds ("
            + ", ".join(kept)
            + ")"
        )


def _work(
    settings: Settings, first: Span, ends: dict[tuple[str, int], int], say: Say
) -> tuple[list[Command], dict[str, int]]:
    """Every partition in a process of its own, as many at once as there are cores."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    wanted = sum(max(0, last - first[topic][partition]) for (topic, partition), last in ends.items())
    writes: list[Command] = []
    total = {TRANSACTIONS.name: 0, ENTITIES.name: 0, "written": 0}
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=context, initializer=_listen, initargs=(told,)
    ) as pool:
        # what takes longest first, so that no core ends up with it alone: transactions, then whatever has most records
        order = sorted(ends, key=lambda at: (at[0] != TRANSACTIONS.name, first[at[0]][at[1]] - ends[at]))
        futures = [
            pool.submit(rebuild_partition, settings.home, topic, p, first[topic][p], ends[topic, p])
            for topic, p in order
        ]
        _follow(futures, told, wanted, say)
        for future in futures:
            done, applied = future.result()
            total[done.topic] += done.records
            total["written"] += done.entities
            writes += applied
    return writes, total


def _follow(futures: list[Future[Any]], told: Any, wanted: int, say: Say) -> None:
    """Say how far it is until all is done.

    Raises:
        TimeoutError: no worker read a record for STALL_S, and none ended.
    """
    read, began = 0, time.monotonic()
    said = moved = began
    while not all(future.done() for future in futures):
        try:
            read += told.get(timeout=0.2)
            moved = time.monotonic()
        except queue.Empty:
            if time.monotonic() - moved > STALL_S:
                raise TimeoutError(f"no record was read for {STALL_S:g} s") from None
        if any(future.done() and future.exception() for future in futures):
            return
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            say(f"{read:,} of {wanted:,} records, {read / (said - began):,.0f} a second")


def _listen(told: Any) -> None:
    global _told
    _told = told
    # a batch is 10,000 records of many objects, none in a cycle: walking them took a third of a rebuild
    quiet_collector()


def rebuild_partition(
    home: str, topic: str, partition: int, start: int, stop: int
) -> tuple[Done, list[Command]]:
    """Read one partition, write its profiles; returns what was done and how far items are applied. Runs in a process."""
    settings = load_settings(Path(home))
    cards, entities = CardBuilder(settings.partitions), EntityBuilder(partition)
    builder = cards if topic == TRANSACTIONS.name else entities

    def take(records: list[Any]) -> None:
        if builder is cards:
            cards.add(_stretch(partition, records))
        else:
            entities.add([LogRow(partition, r.offset(), r.timestamp()[1], r.value(), None) for r in records])
        if _told is not None:
            _told.put(len(records))

    count = 0
    if stop > start:
        count = read_span(settings.kafka, {topic: {partition: start}}, {topic: {partition: stop}}, take)
    written = _write(settings, builder.writes())
    if builder is cards:
        return Done(topic, partition, count, written), []
    said = entities.said()
    client = RespClient(settings.redis_address)
    for begin in range(0, len(said), ROUND):
        _accepted(client.patient(said[begin : begin + ROUND]))
    client.close()
    return Done(topic, partition, count, written), entities.applied_writes()


def _stretch(partition: int, records: list[Any]) -> Stretch:
    return Stretch(
        partition,
        [record.offset() for record in records],
        [record.timestamp()[1] for record in records],
        [record.value() for record in records],
        [record.headers() for record in records],
    )


def _write(settings: Settings, rounds: Iterator[Packed]) -> int:
    client = RespClient(settings.redis_address)
    written = 0
    for packed in rounds:
        _accepted(client.patient([packed]))
        # an EXPIRE follows each HSET
        written += packed.commands // 2
    client.close()
    return written


def _accepted(replies: list[Any]) -> None:
    """Raises: StoreUnavailable when one of the replies is an error."""
    refused = [str(reply) for reply in replies if isinstance(reply, Exception)]
    if refused:
        raise StoreUnavailable(f"the store refused a write, run the rebuild again: {refused[0]}")


def _clear(client: RespClient) -> int:
    gone = 0
    for entity in JOIN_KEYS:
        pattern = (
            b"".join(
                b"\\" + bytes([b]) if bytes([b]) in b"*?[]\\" else bytes([b]) for b in key_prefix(entity)
            )
            + b"*"
        )
        cursor = b"0"
        while True:
            cursor, keys = client.patient([("SCAN", cursor, "MATCH", pattern, "COUNT", 5000)])[0]
            if keys:
                gone += client.patient([("UNLINK", *keys)])[0]
            if cursor == b"0":
                break
    return gone
