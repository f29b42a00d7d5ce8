"""Parity check against a running broker: a random sample of `features`, and the spans of the log to recompute it from."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from features.store.partitions import entity_partition
from features.store.redis_client import RespClient
from streams.audit.parity.recompute import Evidence, Verdict, entities_of, judge
from streams.log.feature_batch import FeatureBatchError, FeatureRecord, decode_batch
from streams.log.offsets.source_ends import SourceEnd
from streams.log.offsets.source_offsets import ImpossibleOffset, SourceOffsets, check_batch, unseen
from streams.log.other_catalogues import Layouts, stored_in
from streams.log.refused_identities import refused_identities
from streams.log.topics import ENTITIES, FEATURES, TRANSACTIONS
from streams.runtime.kafka.clients import headers_of
from streams.runtime.kafka.log_reader import LogRow, Span, read_span, whole_log
from streams.runtime.settings import Settings
from streams.runtime.skips import Skips

Progress = Callable[[str], None]


class Reservoir:
    """A uniform sample of a stream of unknown length (Vitter 1985, algorithm R); duplicates are left out, as in scoring."""

    def __init__(self, size: int, seed: int | None, source_end: SourceEnd) -> None:
        """``source_end``: where `transactions` ends."""
        self._source_end = source_end
        self._size = size
        self._random = random.Random(seed)
        self._offsets: SourceOffsets[int] = SourceOffsets()
        self._seen = 0
        self.records: list[FeatureRecord] = []

    def add_records(self, records: list[Any]) -> None:
        """Records of `features` as a consumer gives them."""
        for record in records:
            self.add(record.value(), record.partition())

    def add(self, value: bytes | None, partition: int) -> None:
        """Offer one record of `features`; a value that is not a batch is skipped, as in scoring."""
        try:
            batch = decode_batch(value, partition)
            check_batch(batch, self._offsets.of(partition), self._source_end)
            rows = unseen(batch, self._offsets)
        except (FeatureBatchError, ImpossibleOffset):
            return
        for row in range(len(rows) if rows else 0):
            self._seen += 1
            place = self._seen - 1 if self._seen <= self._size else self._random.randrange(self._seen)
            if rows and place < self._size:
                # copied as single rows: otherwise the few rows kept would hold whole batches in memory
                self.records[place : place + 1] = rows[row : row + 1].records()


def check_parity(settings: Settings, sample: int, *, seed: int | None = None, say: Progress) -> Verdict:
    """Recompute ``sample`` served vectors from the log and compare.

    Raises:
        LedgerUnreachable: the broker does not answer, or stops answering.
    """
    first, end = whole_log(settings.kafka, [TRANSACTIONS.name, ENTITIES.name, FEATURES.name])
    reservoir = Reservoir(sample, seed, lambda topic, partition: end[topic].get(partition, 0))
    say("sampling features")
    read_span(
        settings.kafka,
        _only(first, FEATURES.name),
        _only(end, FEATURES.name),
        reservoir.add_records,
    )
    samples = reservoir.records
    partitions = len(end[TRANSACTIONS.name]) or settings.partitions
    refused = refused_identities(settings.kafka)
    evidence = Evidence(samples, partitions, tenants=settings.known_tenants, refused=refused)
    needed = needed_of(samples, partitions, first, end)
    say(f"reading the log behind {len(samples)} decisions")
    skips = Skips(settings.run_dir)
    read_span(settings.kafka, first, needed, lambda records: _collect(evidence, skips.left_in(records)))
    say("recomputing")
    layouts = Layouts(stored_in(RespClient(settings.redis_address)))
    return judge(samples, evidence, first[TRANSACTIONS.name], first[ENTITIES.name], layouts)


def _only(span: Span, topic: str) -> Span:
    return {topic: span[topic]}


def needed_of(samples: list[FeatureRecord], partitions: int, first: Span, end: Span) -> Span:
    """The offsets to read up to for these samples, within the log; at least the first record, whose time shows what is gone."""
    needed: Span = {TRANSACTIONS.name: {}, ENTITIES.name: {}}

    def reach(topic: str, partition: int, offset: int) -> None:
        last = min(max(offset, first[topic].get(partition, 0)) + 1, end[topic].get(partition, 0))
        needed[topic][partition] = max(needed[topic].get(partition, 0), last)

    for sample in samples:
        reach(TRANSACTIONS.name, sample.partition, sample.as_of[0])
        for _, entity, as_of in entities_of(sample):
            reach(ENTITIES.name, entity_partition(*entity, partitions), as_of)
    return needed


def _collect(evidence: Evidence, records: list[Any]) -> None:
    rows = []
    for record in records:
        row = LogRow.of(record, headers_of(record))
        if record.topic() == ENTITIES.name:
            evidence.add_entities(row)
        else:
            rows.append(row)
    evidence.add_transactions(rows)
