"""What a chunk of `transactions` gives for `features`: the rows that the card stage made, in batches. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH, LATE_BOUND_S, WIDTH
from features.kernels.columns import Payments
from streams.log.feature_batch import NUMBERS, FeatureBatch, Texts, event_us_of
from streams.processor.intake import Accepted

LATE_BOUND_MS = LATE_BOUND_S * 1000


class Read(NamedTuple):
    """Which state n features were made of: ``as_of`` without the card (n, 4), ``frauds_as_of``, ``missing`` (n,) as in NUMBERS."""

    entities: Any
    frauds: Any
    missing: Sequence[int]


class Made(NamedTuple):
    """n accepted transactions with what was made of each."""

    accepted: Sequence[Accepted]
    payments: Payments
    #: float32 (n, WIDTH)
    vectors: npt.NDArray[np.float32]
    read: Read
    #: how far each came behind its card's newest payment
    late_ms: Sequence[int]


def feature_batches(made: Made, wanted: npt.NDArray[np.bool_]) -> list[FeatureBatch]:
    """Batches of the ``wanted`` (n,) rows, to be produced in this order: readers drop what comes behind a higher offset.

    What the HTTP edge has decided keeps its own vector; one of another catalogue begins a batch of its own.
    """
    rows = np.flatnonzero(wanted)
    events = list(made.accepted) if wanted.all() else [made.accepted[row] for row in rows.tolist()]
    numbers, vectors = _numbers(made, rows, events), made.vectors[rows]
    texts = Texts.of([event.transaction for event in events])
    traces = [event.trace for event in events] if any(event.trace for event in events) else None
    whole = FeatureBatch(CATALOGUE_HASH, -1, numbers, vectors, texts, None, traces)
    decided = [row for row, event in enumerate(events) if event.decided is not None]
    if decided:
        whole = _with_decisions(whole, events, decided)
    return [
        _run(whole[run[0] : run[-1] + 1], events[run[0] : run[-1] + 1])
        for _, places in groupby(enumerate(map(_kind, events)), itemgetter(1))
        for run in ([place for place, _ in places],)
    ]


def _numbers(made: Made, rows: Any, events: list[Accepted]) -> npt.NDArray[np.void]:
    payments, read = made.payments[rows], made.read
    out = np.empty(len(rows), dtype=NUMBERS)
    for name in ("offset", "latitude", "longitude"):
        out[name] = payments[name]
    out["amount_minor"] = payments["amount"]
    out["event_us"] = event_us_of([event.transaction for event in events])
    out["appended_ms"] = [event.appended_ms for event in events]
    out["deadline_ms"] = [event.deadline_ms for event in events]
    out["as_of"][:, 0] = payments["offset"] - 1
    out["as_of"][:, 1:] = read.entities[rows]
    out["frauds_as_of"] = read.frauds[rows]
    out["missing"] = np.asarray(read.missing, dtype=np.int32)[rows]
    late_ms = np.asarray(made.late_ms, dtype=np.int64)[rows]
    out["late_ms"] = np.where(late_ms > LATE_BOUND_MS, late_ms, 0)
    return out


def _with_decisions(whole: FeatureBatch, events: list[Accepted], decided: list[int]) -> FeatureBatch:
    decisions: list[bytes | None] = [None] * len(events)
    for row in decided:
        edge = events[row].decided
        assert edge is not None
        decisions[row] = edge.decision
        for name in ("as_of", "frauds_as_of", "missing"):
            whole.numbers[name][row] = getattr(edge, name)
        if _kind(events[row])[1:] == _OWN:
            whole.vectors[row] = np.frombuffer(edge.vector, "<f4")
    return FeatureBatch(
        whole.catalogue, whole.partition, whole.numbers, whole.vectors, whole.texts, decisions, whole.traces
    )


#: of rows that were made here: their catalogue, and the bytes of a vector
_OWN = (CATALOGUE_HASH, 4 * WIDTH)


def _kind(event: Accepted) -> tuple[int, str, int]:
    """What all rows of a batch have in common."""
    if event.decided is None:
        return event.partition, *_OWN
    return event.partition, event.decided.catalogue, len(event.decided.vector)


def _run(rows: FeatureBatch, events: list[Accepted]) -> FeatureBatch:
    """Rows of one kind as a batch of their own."""
    partition, catalogue, size = _kind(events[0])
    vectors = rows.vectors
    if (catalogue, size) != _OWN:
        joined = b"".join([event.decided.vector for event in events if event.decided])
        vectors = np.frombuffer(joined, "<f4").reshape(len(events), -1)
    return FeatureBatch(catalogue, partition, rows.numbers, vectors, rows.texts, rows.decided, rows.traces)
