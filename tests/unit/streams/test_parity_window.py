"""Sampled parity of all entities in production: from a snapshot of the store on; a flipped bit of any of them is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis
import msgspec
import numpy as np
import pytest

from features.catalogue import FEATURES, INDEX, NAMES
from features.store.redis_client import StoreUnavailable
from streams.audit.parity.recompute import Begin
from streams.audit.parity.snapshot import begin_in, look
from streams.audit.parity.window import KINDS, Most, ParityWindow, Spans
from streams.log.feature_batch import FeatureBatch, FeatureRecord
from streams.runtime.kafka.log_reader import LedgerUnreachable, LogRow
from streams.runtime.metrics import PARITY_COMPARED, PARITY_ENTITIES, PARITY_SKIPPED
from tests.support.catalogue_samples import UNKNOWN
from tests.support.feature_batches import batches_in, decode_features, encode_features, rows_in
from tests.support.metric_values import counted
from tests.support.parity_world import PARTITIONS, Record
from tests.support.stage import Stage


class Watched:
    """A little world with a window on it. ``read``: how many records of `entities` were read back."""

    def __init__(self, seed: int, most: Most = Most()) -> None:  # noqa: B008 - a frozen value
        self.stage = Stage(seed)
        self.read = self.offered = 0
        #: what the window began with, last
        self.snapshot: Begin | None = None
        #: instead of the store, and of the log
        self.begin: Callable[[Sequence[FeatureRecord]], Begin | None] = self._begin
        self.read_items: Callable[[Spans], Iterable[LogRow]] = self._items
        self.window = ParityWindow(
            UNKNOWN,
            PARTITIONS,
            lambda records: self.begin(records),
            lambda spans: self.read_items(spans),
            most,
            seed,
        )

    def _begin(self, records: Sequence[FeatureRecord]) -> Begin | None:
        store: Any = self.stage.redis
        self.snapshot = begin_in(store, records, PARTITIONS)
        return self.snapshot

    def _items(self, spans: Spans) -> Iterable[LogRow]:
        for partition, (first, end) in spans.items():
            for r in self.stage.log.topics[("entities", partition)][first:end]:
                self.read += 1
                yield LogRow(r.partition, r.offset, r.timestamp, r.value, None)

    def news(self) -> list[Record]:
        """What came on `features` since the last time."""
        every = self.stage.log.topics
        found = [r for p in range(PARTITIONS) for r in every.get(("features", p), [])]
        fresh = [r for r in found if (r.partition, r.offset) not in self._known]
        self._known |= {(r.partition, r.offset) for r in found}
        return fresh

    _known: frozenset[tuple[int, int]] | set[tuple[int, int]] = frozenset()

    def opened(self) -> list[Record]:
        """A window opened on what came so far; returns what comes then."""
        self._known = set()
        self.stage.run(80)
        self.window.offer(batches(self.news()))
        assert self.window.tick(0.0) == 0
        self.stage.run(60)
        return self.news()


def test_what_is_served_is_what_the_snapshot_and_the_items_give() -> None:
    for seed in range(6):
        before = counted(PARITY_COMPARED)
        watched = Watched(seed, Most(compared=1000))
        watched.window.offer(batches(watched.opened()))
        assert watched.window.tick(5.0) == 0 and counted(PARITY_COMPARED) == before, "it is open still"
        assert watched.window.tick(10.0) == 0
        assert counted(PARITY_COMPARED) - before > 20
        assert watched.read > 5


def spoilt(record: Record, column: int) -> Record | None:
    """The record of one row, of which one bit is wrong."""
    sample = decode_features(record.value)
    vector = np.frombuffer(sample.vector, "<u4").copy()
    if sample.missing or np.isnan(vector.view("<f4")[column]):
        return None
    vector[column] ^= np.uint32(1)
    return record._replace(value=encode_features(msgspec.structs.replace(sample, vector=vector.tobytes())))


def batches(records: Sequence[Record]) -> list[FeatureBatch]:
    return batches_in(record.value for record in records)


SEEN_ELSEWHERE = {f.name for f in FEATURES if f.entity == "card"} - {"card_frauds_30d", "card_declined_1h"}


def test_a_flipped_bit_of_every_entry_is_seen() -> None:
    """Of all but what a card's own payments give, which another watch follows."""
    watched = Watched(4)
    records = [
        record._replace(value=encode_features(row))
        for record in watched.opened()
        for row in rows_in([record.value])
    ]
    before, looked_at, now_s = watched.snapshot, 0, 10.0
    assert before is not None and watched.window.tick(now_s) == 0, "nothing was offered"
    # each window from the same moment
    watched.begin = lambda _: before
    for name in sorted(set(NAMES) - SEEN_ELSEWHERE):
        for record in reversed(records):
            wrong = spoilt(record, INDEX[name])
            if wrong is not None and watched.window._followed(decode_features(wrong.value), before):
                now_s += Most().every_s
                watched.window.offer(batches([record]))
                assert watched.window.tick(now_s) == 0, "it opens"
                watched.window.offer(batches([wrong]))
                now_s += Most().open_s
                if watched.window.tick(now_s) == 1:
                    looked_at += 1
                    break
        else:
            # nobody says where this world's payments were made
            assert name.endswith(("_mcc_share", "mcc")), name
    assert looked_at > 120


def test_cost_is_bounded_by_the_sample() -> None:
    most = Most(followed=3, looked=10, compared=4, items=1)
    watched = Watched(2, most)
    records = watched.opened()
    assert len(watched.window._offsets) <= 5 * most.followed
    before = counted(PARITY_COMPARED)
    while watched.window._looked < most.looked and len(watched.window._kept) < most.compared:
        watched.window.offer(batches(records))
    assert watched.window._looked <= most.looked and len(watched.window._kept) <= most.compared
    assert watched.window.tick(1.0) == 0, "enough was seen: it closes before its time"
    assert counted(PARITY_COMPARED) - before <= most.compared
    assert watched.read <= most.items * PARTITIONS
    # and it opens again in its own time only
    watched.window.offer(batches(records))
    watched.window.tick(most.every_s - 1)
    assert watched.window._open is None
    watched.window.tick(most.every_s)
    assert watched.window._open is not None


def test_busy_merchants_leave_room_for_all_kinds() -> None:
    watched = Watched(4, Most(compared=10))
    records = watched.opened()
    before = {kind: PARITY_ENTITIES.labels(kind)._value.get() for kind in KINDS}
    watched.window.offer(batches(records))
    kept = watched.window._kept
    assert len(kept) <= 10
    watched.window.tick(10.0)
    assert all(PARITY_ENTITIES.labels(kind)._value.get() - before[kind] >= 2 for kind in KINDS)


def test_without_whole_state_there_is_no_window() -> None:
    watched = Watched(2)
    watched.stage.redis.values["tollgate:state:rebuilding"] = b"{}"
    watched.opened()
    assert watched.window._open is None


@pytest.mark.parametrize("error", [StoreUnavailable("away"), LedgerUnreachable("away")])
def test_what_cannot_be_had_is_counted_and_stops_nothing(error: Exception) -> None:
    def refuse(_: Any) -> Any:
        raise error

    watched = Watched(2)
    records = watched.opened()
    before = counted(PARITY_SKIPPED)
    watched.read_items = refuse
    watched.window.offer(batches(records))
    assert look(watched.window, 10.0) == 0
    assert counted(PARITY_SKIPPED) == before + 1
    watched.window.offer(batches(records))
    watched.begin = refuse
    assert look(watched.window, 100.0) == 0
    assert counted(PARITY_SKIPPED) == before + 2


def test_a_store_that_refuses_is_no_state() -> None:
    class Refusing:
        def call(self, commands: Any) -> list[Any]:
            return [hiredis.ReplyError("LOADING")]

    store: Any = Refusing()
    with pytest.raises(StoreUnavailable, match="one moment"):
        begin_in(store, [], PARTITIONS)
