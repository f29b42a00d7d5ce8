"""Which records a chunk worker sets aside, and how it splits a chunk whose records may end it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from faust.types import TP

from streams.runtime.chunk.batches import why_unreadable
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.set_aside import SetAside


class Piece(NamedTuple):
    """A chunk to hand on; ``alone``: while no other one is handled, so that it is known which one ends the worker."""

    chunk: Chunk
    alone: bool


class Aside:
    """What one chunk worker sets aside: unreadable records too."""

    def __init__(self, records: SetAside) -> None:
        self._records = records
        self._suspects, self._skips = records.suspects, records.skips

    def assigned(self, places: list[TP]) -> None:
        """Partitions are assigned: see what their last worker was handling when it ended."""
        for tp in places:
            self._suspects.took_over(_place(tp))

    def begin(self, starts: Mapping[TP, int], positions: Mapping[TP, int]) -> None:
        """Records from ``starts`` up to ``positions`` are handled from now on."""
        for tp, position in positions.items():
            self._suspects.begin(_place(tp), starts[tp], position)

    def finish(self, positions: Mapping[TP, int]) -> None:
        """All records up to ``positions`` have been handled."""
        for tp, position in positions.items():
            self._suspects.finish(_place(tp), position)

    def forgive(self, places: Iterable[TP]) -> None:
        """What ends the worker now is not the fault of the records of these partitions."""
        for tp in places:
            self._suspects.forgive(_place(tp))

    def concerns(self, chunk: Chunk) -> bool:
        """Whether ``pieces`` would do anything to a chunk: nearly always not, at 30 ns a record."""
        return any(map(why_unreadable, chunk.records)) or any(
            self._is_wary(chunk, tp) or self._has_skips(chunk, tp) for tp in chunk.positions
        )

    def pieces(self, chunk: Chunk) -> list[Piece]:
        """A chunk without what is set aside, in the pieces in which it may be handled. Returns when there are dead letters of it.

        Raises:
            DeliveryError: a dead letter was not acknowledged.
        """
        wary = [tp for tp in chunk.positions if self._is_wary(chunk, tp)]
        kept = [record for record in chunk.records if not self._is_aside(record)]
        return self._cut(replace(chunk, records=kept), wary)

    def _is_wary(self, chunk: Chunk, tp: TP) -> bool:
        return self._suspects.piece(_place(tp), chunk.starts[tp]) is not None

    def _has_skips(self, chunk: Chunk, tp: TP) -> bool:
        return any(chunk.starts[tp] <= offset < chunk.positions[tp] for offset in self._skips.of(*_place(tp)))

    def _is_aside(self, record: Any) -> bool:
        """Whether a record is set aside; it then has its dead letter."""
        unreadable = why_unreadable(record)
        if unreadable is None:
            return self._records.takes(record)
        self._records.keep(record, unreadable)
        return True

    def _cut(self, chunk: Chunk, wary: list[TP]) -> list[Piece]:
        """The partitions that hold suspects in pieces, then the others together."""
        out: list[Piece] = []
        for tp in wary:
            records = [record for record in chunk.records if record.partition == tp.partition]
            out += [Piece(piece, True) for piece in self._cut_partition(chunk, tp, records)]
        rest = [tp for tp in chunk.positions if tp not in wary]
        if rest:
            numbers = {tp.partition for tp in rest}
            records = [record for record in chunk.records if record.partition in numbers]
            out.append(Piece(_part(chunk, rest, records), False))
        return out

    def _cut_partition(self, chunk: Chunk, tp: TP, records: list[Any]) -> list[Chunk]:
        out: list[Chunk] = []
        start, at = chunk.starts[tp], 0
        while at < len(records):
            size = self._suspects.piece(_place(tp), records[at].offset) or len(records)
            some = records[at : at + size]
            at += len(some)
            position = some[-1].offset + 1 if at < len(records) else chunk.positions[tp]
            out.append(replace(chunk, records=some, starts={tp: start}, positions={tp: position}))
            start = position
        # all its records may be set aside: the position moves on all the same
        return out or [_part(chunk, [tp], [])]


def _place(tp: TP) -> tuple[str, int]:
    return tp.topic, tp.partition


def _part(chunk: Chunk, places: list[TP], records: list[Any]) -> Chunk:
    """The chunk's part in some partitions."""
    return replace(
        chunk,
        records=records,
        starts={tp: chunk.starts[tp] for tp in places},
        positions={tp: chunk.positions[tp] for tp in places},
    )
