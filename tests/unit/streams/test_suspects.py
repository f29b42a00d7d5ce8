"""A record that has ended its worker three times is found and set aside; nothing else is."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from features.store.redis_client import StoreUnavailable
from streams.contracts.invalid_event import InvalidEvent
from streams.processor.cards import StateIsBack
from streams.processor.commit import CommitFailed
from streams.runtime.blame import blameless
from streams.runtime.chunk.aside import Aside
from streams.runtime.chunk.batches import UNREADABLE
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.kafka.clients import DeliveryError
from streams.runtime.set_aside import SetAside
from streams.runtime.skips import Skip, Skips, SkipsError
from streams.runtime.suspects import GUILTY_AFTER, GUILTY_WITHIN_S, MAX_GUILTY, PIECE, Suspects

ZERO, ONE = TP("transactions", 0), TP("transactions", 1)


def record(offset: int, partition: int = 0, headers: Any = ()) -> Any:
    return SimpleNamespace(
        topic="transactions", partition=partition, offset=offset, value=b"v", headers=headers
    )


def chunk_of(first: int, last: int, partition: int = 0) -> Chunk:
    tp = TP("transactions", partition)
    return Chunk("transactions", [record(n, partition) for n in range(first, last)], {tp: last}, {tp: first})


class Ended(Exception):
    """The worker ended, as by a signal: nothing is said about why."""


class Workers:
    """Workers of one group, one after the other, on a log of ``records`` records per partition; some offsets end them."""

    def __init__(self, folder: Path, records: int, deadly: set[int], chunk: int = 500) -> None:
        self.folder, self.records, self.deadly, self.chunk = folder, records, deadly, chunk
        self.letters: list[tuple[int, str]] = []
        self.handled: list[int] = []
        self.position = 0
        self.lives = 0
        self.now_s = 1_000_000.0

    def run(self) -> None:
        """Workers until the log is read, or ever new ones end on it."""
        while self.lives < 200:
            self.lives += 1
            try:
                self.live()
            except Ended:
                continue
            return

    def live(self) -> None:
        aside = Aside(
            SetAside(
                "worker-0",
                Suspects(self.folder, "group", lambda: self.now_s),
                Skips(self.folder),
                self.keep,
                lambda: self.now_s,
            )
        )
        aside.assigned([ZERO])
        while self.position < self.records:
            chunk = chunk_of(self.position, min(self.records, self.position + self.chunk))
            pieces = aside.pieces(chunk) if aside.concerns(chunk) else [SimpleNamespace(chunk=chunk)]
            for piece in pieces:
                some = piece.chunk
                aside.begin({ZERO: some.records[0].offset} if some.records else some.starts, some.positions)
                for one in some.records:
                    if one.offset in self.deadly:
                        raise Ended
                self.handled += [one.offset for one in some.records]
                assert some.starts[ZERO] == self.position
                self.position = some.positions[ZERO]
                aside.finish(some.positions)

    def keep(self, one: Any, error: InvalidEvent) -> None:
        self.letters.append((one.offset, error.reason))


def test_a_record_that_ends_its_worker_three_times_is_set_aside(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 2_000, {777})
    workers.run()
    assert workers.letters == [(777, "ended_worker")]
    assert workers.handled == [n for n in range(2_000) if n != 777]
    assert workers.lives == GUILTY_AFTER + 1


@given(st.sets(st.integers(0, 299), max_size=6))
def test_each_deadly_record_is_set_aside_and_no_other(deadly: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(Path(folder), 300, deadly, chunk=100)
        workers.run()
    # one may be kept again, when its worker ends on the next one before the position has moved on
    assert {offset for offset, _ in workers.letters} == deadly
    assert workers.handled == [n for n in range(300) if n not in deadly]
    assert workers.lives <= GUILTY_AFTER * len(deadly) + 1


def test_a_worker_that_ends_for_another_reason_sets_nothing_aside(tmp_path: Path) -> None:
    suspects = Suspects(tmp_path, "group")
    for start in range(0, 1_000, 10):
        # each is killed at another place: what it handled is taken in pieces, and nothing is guilty
        suspects.took_over(ZERO)
        assert suspects.guilty(ZERO) is None
        suspects.begin(ZERO, start, start + 10)
        suspects.finish(ZERO, start + 5)


def test_a_worker_without_a_place_to_remember_works_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    suspects = Suspects(tmp_path / "file", "group")
    suspects.took_over(ZERO)
    suspects.begin(ZERO, 0, 10)
    suspects.finish(ZERO, 10)
    assert suspects.piece(ZERO, 10) is None


def test_what_is_forgiven_is_not_suspected(tmp_path: Path) -> None:
    suspects = Suspects(tmp_path, "group")
    for _ in range(10):
        suspects.took_over(ZERO)
        assert suspects.piece(ZERO, 0) is None
        suspects.begin(ZERO, 0, 100)
        suspects.forgive(ZERO)


def test_pieces_get_smaller_and_are_whole_again_behind_the_suspects(tmp_path: Path) -> None:
    sizes = []
    for _ in range(3):
        suspects = Suspects(tmp_path, "group")
        suspects.took_over(ZERO)
        sizes.append((suspects.piece(ZERO, 0), suspects.piece(ZERO, 100)))
        suspects.begin(ZERO, 0, 100 if len(sizes) == 1 else PIECE)
    assert sizes == [(None, None), (PIECE, None), (1, None)]


def test_too_many_guilty_records_are_not_the_records_fault(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 1_000, set(range(1_000)), chunk=1)
    workers.run()
    assert workers.position == len(workers.letters) == MAX_GUILTY
    workers.lives, workers.now_s = 0, workers.now_s + GUILTY_WITHIN_S + 1
    workers.run()
    assert workers.position == len(workers.letters) == 2 * MAX_GUILTY


def test_other_partitions_go_on_in_whole_chunks(tmp_path: Path) -> None:
    suspects = Suspects(tmp_path, "group")
    suspects.begin(ONE, 0, 5)
    aside = Aside(SetAside("worker-0", Suspects(tmp_path, "group"), Skips(tmp_path), lambda *_: None))
    aside.assigned([ZERO, ONE])
    records = [record(n, 0) for n in range(50)] + [record(n, 1) for n in range(40)]
    chunk = Chunk("transactions", records, {ZERO: 50, ONE: 40}, {ZERO: 0, ONE: 0})
    pieces = aside.pieces(chunk)
    assert [(piece.alone, list(piece.chunk.positions.items())) for piece in pieces] == [
        (True, [(ONE, 32)]), (True, [(ONE, 40)]), (False, [(ZERO, 50)]),
    ]  # fmt: skip
    assert sum(len(piece.chunk.records) for piece in pieces) == 90


def test_unreadable_and_skipped_records_are_kept_and_the_position_moves_on(tmp_path: Path) -> None:
    kept: list[tuple[int, str]] = []
    skips = Skips(tmp_path)
    aside = Aside(
        SetAside(
            "worker-0",
            Suspects(tmp_path, "g"),
            skips,
            lambda one, error: kept.append((one.offset, error.reason)),
        )
    )
    aside.assigned([ZERO])
    chunk = chunk_of(0, 3)
    assert not aside.concerns(chunk)
    skips.add(Skip("transactions", 0, 1, "it stops the processor", "ada", "2026-11-30T10:00:00Z"))
    chunk.records[2].headers = ((UNREADABLE, b"its batch cannot be read"),)
    assert aside.concerns(chunk)
    (piece,) = aside.pieces(chunk)
    assert ([one.offset for one in piece.chunk.records], piece.chunk.positions) == ([0], {ZERO: 3})
    assert kept == [(1, "skipped"), (2, "unreadable")]
    # all records of a chunk may be set aside
    alone = chunk_of(1, 2)
    (piece,) = aside.pieces(alone)
    assert (piece.chunk.records, piece.chunk.starts, piece.chunk.positions) == ([], {ZERO: 1}, {ZERO: 2})


def test_a_header_of_that_name_is_not_the_mark(tmp_path: Path) -> None:
    aside = Aside(SetAside("worker-0", Suspects(tmp_path, "g"), Skips(tmp_path), lambda *_: None))
    chunk = chunk_of(0, 1)
    chunk.records[0].headers = (("unreadable", b"I am not"),)
    assert not aside.concerns(chunk)


def test_who_reads_the_log_again_leaves_out_what_is_skipped(tmp_path: Path) -> None:
    skips = Skips(tmp_path)
    messages = [
        SimpleNamespace(topic=lambda: "transactions", partition=lambda: 0, offset=partial(int, n))
        for n in range(3)
    ]
    assert skips.left_in(messages) == messages
    skips.add(Skip("transactions", 0, 1, "it stops the processor", "ada", "2026-11-30T10:00:00Z"))
    assert skips.left_in(messages) == [messages[0], messages[2]]


def test_a_file_of_skips_that_does_not_parse_is_named(tmp_path: Path) -> None:
    skips = Skips(tmp_path)
    skips.add(Skip("transactions", 0, 1, "it stops the processor", "ada", "2026-11-30T10:00:00Z"))
    assert list(skips.of("transactions", 0)) == [1]
    (tmp_path / "skips.json").write_bytes(b"[")
    # a worker goes on with what it knows
    assert list(skips.of("transactions", 0)) == [1]
    with pytest.raises(SkipsError, match=r"skips\.json does not parse"):
        Skips(tmp_path).all()


def caused(outer: Exception, inner: Exception) -> Exception:
    try:
        raise outer from inner
    except Exception as error:  # noqa: BLE001 - any
        return error


@pytest.mark.parametrize(
    ("error", "innocent"),
    [
        (StoreUnavailable("away"), True),
        (DeliveryError("not acknowledged"), True),
        (DeliveryError("too large", of_the_record=True), False),
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), False),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), True),
        (StateIsBack("there again"), True),
        (OSError("the disk is full"), True),
        (caused(CommitFailed("x"), StoreUnavailable("away")), True),
        (caused(CommitFailed("x"), ValueError("x")), False),
        (ValueError("x"), False),
        (RecursionError("x"), False),
        (MemoryError("x"), False),
    ],
)
def test_whose_fault_an_error_is(error: Exception, innocent: bool) -> None:
    assert blameless(error) is innocent
