"""What a chunk of `transactions` gives for `features`: the rows that the card stage made, in batches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from features.catalogue import CATALOGUE_HASH, LATE_BOUND_S, WIDTH
from streams.log.edge_decision import EdgeDecision
from streams.log.feature_batch import STATES, BatchColumns, FeatureBatch
from streams.processor.intake import Accepted

LATE_BOUND_MS = LATE_BOUND_S * 1000


class Read(NamedTuple):
    """Which state n features were made of: of merchant, device, ip and customer (n, 4), of the card's frauds (n,), as
    ``FeatureRecord.as_of`` says it; and ``missing`` (n,)."""

    entities: npt.NDArray[np.int64]
    frauds: npt.NDArray[np.int64]
    missing: Sequence[int]


class Made(NamedTuple):
    """n accepted transactions with what was made of each."""

    accepted: Accepted
    #: float32 (n, WIDTH)
    vectors: npt.NDArray[np.float32]
    read: Read
    #: how far each came behind its card's newest payment
    late_ms: Sequence[int]


def feature_batches(made: Made, wanted: npt.NDArray[np.bool_]) -> list[FeatureBatch]:
    """Batches of the ``wanted`` (n,) rows, to be produced in this order: readers drop what comes behind a higher offset.

    What the HTTP edge has decided keeps its own vector; one of another catalogue begins a batch of its own.
    """
    if not wanted.all():
        made = _only(made, np.flatnonzero(wanted))
    if not len(made.accepted):
        return []
    whole, edges = _whole(made), made.accepted.decided
    kinds: Iterable[tuple[int, str, int]] = ((partition, *_OWN) for partition in made.accepted.partitions)
    if edges:
        whole = _with_decisions(whole, edges)
        kinds = map(_kind, made.accepted.partitions, edges)
    out, first = [], 0
    for (partition, catalogue, size), run in groupby(kinds):
        end = first + sum(1 for _ in run)
        rows = whole[first:end] if end - first < len(whole) else whole
        vectors = rows.vectors
        if (catalogue, size) != _OWN:
            joined = b"".join([edge.vector for edge in (edges or ())[first:end] if edge])
            vectors = np.frombuffer(joined, "<f4").reshape(len(rows), -1)
        out.append(FeatureBatch(catalogue, partition, rows.event_ms, vectors, rows.as_of, rows.columns))
        first = end
    return out


def _only(made: Made, rows: npt.NDArray[np.int64]) -> Made:
    places, read = rows.tolist(), made.read

    def picked(column: Sequence[int]) -> list[int]:
        return [column[place] for place in places]

    kept = Read(read.entities[rows], read.frauds[rows], picked(read.missing))
    return Made(made.accepted.take(places), made.vectors[rows], kept, picked(made.late_ms))


def _whole(made: Made) -> FeatureBatch:
    """All rows as if they were one batch, without what the HTTP edge decided."""
    accepted = made.accepted
    as_of = np.empty((len(accepted), STATES), dtype=np.int64)
    as_of[:, 0] = accepted.offsets
    # the card's own state is that of all before
    as_of[:, 0] -= 1
    as_of[:, 1:-1] = made.read.entities
    as_of[:, -1] = made.read.frauds
    late_ms = [behind if behind > LATE_BOUND_MS else 0 for behind in made.late_ms]
    attributes = [each or None for each in accepted.columns.attributes]
    columns = BatchColumns(
        *accepted.columns[:-1], accepted.offsets, accepted.appended_ms, accepted.deadline_ms, made.read.missing, late_ms, None,
        accepted.traces, attributes if any(attributes) else None,
    )  # fmt: skip
    return FeatureBatch(CATALOGUE_HASH, -1, accepted.event_ms.tolist(), made.vectors, as_of, columns)


def _with_decisions(whole: FeatureBatch, edges: Sequence[EdgeDecision | None]) -> FeatureBatch:
    vectors, missing = whole.vectors.copy(), list(whole.columns.missing)
    for row, edge in enumerate(edges):
        if edge is None:
            continue
        whole.as_of[row] = (*edge.as_of, edge.frauds_as_of)
        missing[row] = edge.missing
        if (edge.catalogue, len(edge.vector)) == _OWN:
            vectors[row] = np.frombuffer(edge.vector, "<f4")
    decided = [edge and edge.decision for edge in edges]
    columns = replace(whole.columns, missing=missing, decided=decided)
    return FeatureBatch(whole.catalogue, whole.partition, whole.event_ms, vectors, whole.as_of, columns)


#: of rows that were made here: their catalogue, and the bytes of a vector
_OWN = (CATALOGUE_HASH, 4 * WIDTH)


def _kind(partition: int, edge: EdgeDecision | None) -> tuple[int, str, int]:
    """What all rows of a batch have in common."""
    if edge is None:
        return partition, *_OWN
    return partition, edge.catalogue, len(edge.vector)
