"""What a chunk gives for `features`: in order, a batch for each partition and catalogue, with what the HTTP edge made as it made it."""

from __future__ import annotations

import numpy as np

from features.catalogue import CATALOGUE_HASH, WIDTH
from streams.log.edge_decision import EdgeDecision
from streams.log.feature_batch import FeatureBatch
from streams.processor.feature_rows import LATE_BOUND_MS, Made, Read, feature_batches
from streams.processor.intake import AcceptedRow
from tests.support.accepted_rows import accepted_of
from tests.support.archive_samples import START_MS, transaction

WIDER = WIDTH + 2


def edge(catalogue: str, width: int, fill: float) -> EdgeDecision:
    vector = np.full(width, fill, "<f4").tobytes()
    return EdgeDecision(b"decided", catalogue, vector, (50, 51, 52, 53, 54), 4, 55)


def accepted(number: int, partition: int, decided: EdgeDecision | None = None) -> AcceptedRow:
    at = START_MS + number
    trace = f"trace-{number}" if number == 2 else None
    return AcceptedRow(transaction(number, at), at, partition, 100 + number, at + 5, 90, decided, trace)


def made_of(*events: AcceptedRow) -> Made:
    n = len(events)
    vectors = np.arange(n, dtype=np.float32)[:, None] + np.zeros(WIDTH, np.float32)
    read = Read(np.arange(4 * n).reshape(n, 4), np.arange(n) + 70, list(range(n)))
    return Made(accepted_of(events), vectors, read, [LATE_BOUND_MS + number % 2 for number in range(n)])


def batches(made: Made, *left_out: int) -> list[FeatureBatch]:
    wanted = np.ones(len(made.accepted), bool)
    wanted[list(left_out)] = False
    return feature_batches(made, wanted)


def test_a_row_says_what_was_made_of_its_transaction() -> None:
    events = [accepted(number, 1) for number in range(4)]
    (batch,) = batches(made_of(*events), 0)
    assert (batch.catalogue, batch.partition) == (CATALOGUE_HASH, 1)
    records = batch.records()
    assert [r.transaction for r in records] == [e.transaction for e in events[1:]]
    assert [(r.offset, r.event_ms, r.appended_ms, r.deadline_ms, r.trace, r.decided) for r in records] == [
        (e.offset, e.event_ms, e.appended_ms, e.deadline_ms, e.trace, None) for e in events[1:]
    ]
    # the card's own state is that of the transaction before on its partition
    assert [r.as_of for r in records] == [(99 + n, *range(4 * n, 4 * n + 4)) for n in range(1, 4)]
    assert [(r.frauds_as_of, r.missing) for r in records] == [(71, 1), (72, 2), (73, 3)]
    assert [r.late_ms for r in records] == [LATE_BOUND_MS + 1, 0, LATE_BOUND_MS + 1]
    assert batch.vectors[:, 0].tolist() == [1, 2, 3]


def test_what_the_edge_decided_keeps_its_vector_and_its_place() -> None:
    decided = edge(CATALOGUE_HASH, WIDTH, 9.5)
    (batch,) = batches(made_of(accepted(0, 0), accepted(1, 0, decided), accepted(2, 0)))
    records = batch.records()
    assert [r.decided for r in records] == [None, b"decided", None]
    assert records[1].vector == decided.vector
    assert (records[1].as_of, records[1].missing, records[1].frauds_as_of) == ((50, 51, 52, 53, 54), 4, 55)
    assert records[2].as_of == (101, 8, 9, 10, 11)


def test_rows_of_another_catalogue_or_width_begin_a_batch_so_that_offsets_ascend_over_all() -> None:
    """Two batches by turns would not do: a reader drops what comes behind a higher offset."""
    other, cut = edge("other", WIDER, 1.0), edge(CATALOGUE_HASH, WIDTH - 1, 2.0)
    events = [
        accepted(0, 0),
        accepted(1, 0, other),
        accepted(2, 0, other),
        accepted(3, 0),
        accepted(4, 0, cut),
    ]
    found = batches(made_of(*events))
    assert [(b.catalogue, b.vectors.shape, list(b.columns.offset)) for b in found] == [
        (CATALOGUE_HASH, (1, WIDTH), [100]),
        ("other", (2, WIDER), [101, 102]),
        (CATALOGUE_HASH, (1, WIDTH), [103]),
        (CATALOGUE_HASH, (1, WIDTH - 1), [104]),
    ]
    assert found[1].vectors.tolist() == [[1.0] * WIDER] * 2


def test_each_partition_has_batches_of_its_own() -> None:
    found = batches(made_of(accepted(0, 0), accepted(1, 0), accepted(2, 1)))
    assert [(b.partition, list(b.columns.offset)) for b in found] == [(0, [100, 101]), (1, [102])]


def test_nothing_wanted_is_no_batch() -> None:
    assert batches(made_of(accepted(0, 0)), 0) == []
    assert feature_batches(made_of(), np.ones(0, bool)) == []
