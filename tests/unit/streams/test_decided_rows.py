"""What counts as decided: against a model that knows every transaction, with offsets that lie, logs that begin again, and repetitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.log.feature_batch import FeatureBatch
from streams.log.offsets import source_offsets
from streams.log.offsets.source_offsets import (
    CLOCKS_APART_MS,
    MAX_JUMP,
    DecidedRows,
    ImpossibleOffset,
    check_batch,
    check_offset,
)
from tests.support.archive_samples import features
from tests.support.feature_batches import batch_of, decode_features

ROW = decode_features(features(0).value)
HOUR_MS = 3_600_000


def batch(*rows: tuple[int, str], at_ms: int | None = None) -> FeatureBatch:
    """Rows by offset and transaction; appended a millisecond an offset, or all at one time."""
    return batch_of(
        [
            replace(
                ROW, offset=offset, appended_ms=1_000_000 + offset if at_ms is None else at_ms,
                transaction=replace(ROW.transaction, transaction_id=name),
            )
            for offset, name in rows
        ]
    )  # fmt: skip


def fresh(decided: DecidedRows, *rows: tuple[int, str], at_ms: int | None = None) -> list[str]:
    found = decided.fresh(batch(*rows, at_ms=at_ms))
    return [] if found is None else list(found.columns.transaction_id)


def test_a_lie_hides_nobody() -> None:
    """A row claims an offset far ahead: those that come under lower offsets, and under that very one, are decided."""
    decided = DecidedRows()
    assert fresh(decided, (0, "a"), (1, "b")) == ["a", "b"]
    assert fresh(decided, (2**62, "lie")) == ["lie"]
    assert fresh(decided, (2, "c"), (3, "d")) == ["c", "d"]
    assert fresh(decided, (4, "lie too")) == ["lie too"]
    assert fresh(decided, (2, "c"), (3, "d"), (4, "e"), (5, "f")) == ["e", "f"]
    assert fresh(decided, (2**62, "lie"), (2**62 + 1, "g")) == ["g"]


def test_what_was_decided_before_is_told_by_offset_and_time() -> None:
    decided = DecidedRows({7: "a", 9: "b"}, below=7, below_ms=1_000_007)
    # before the tail: decided, unless it was appended later than the oldest of the tail was decided
    assert fresh(decided, (3, "x"), (7, "a")) == []
    assert fresh(decided, (3, "y"), at_ms=1_000_007 + CLOCKS_APART_MS) == []
    assert fresh(decided, (3, "z"), at_ms=1_000_008 + CLOCKS_APART_MS) == ["z"]
    # among the tail: the very transactions, and nobody else
    assert fresh(decided, (8, "never decided"), (9, "b"), (10, "c")) == ["never decided", "c"]
    assert fresh(decided, (9, "another")) == ["another"]


def test_a_log_that_begins_again_is_decided_from_its_first_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_offsets, "WINDOW", 50)
    decided = DecidedRows()
    for first in range(0, 400, 10):
        rows = [(offset, f"old-{offset}") for offset in range(first, first + 10)]
        assert fresh(decided, *rows) == [name for _, name in rows]
    # offsets of which only a bound is remembered, and those that are remembered one by one
    for first in range(0, 500, 10):
        rows = [(offset, f"new-{offset}") for offset in range(first, first + 10)]
        assert fresh(decided, *rows, at_ms=1_000_000 + HOUR_MS + first) == [name for _, name in rows]
        assert fresh(decided, *rows, at_ms=1_000_000 + HOUR_MS + first) == []


@given(st.lists(st.integers(0, 39), min_size=1, max_size=30), st.integers(1, 7), st.data())
def test_each_row_is_decided_once_whatever_is_read_again(
    starts: list[int], size: int, data: st.DataObject
) -> None:
    """Reading starts again anywhere at or before where it was: as after a crash, without a lie."""
    decided, done, at = DecidedRows(), [], 0
    for back in starts:
        at = max(0, at - back)
        for _ in range(data.draw(st.integers(1, 4))):
            rows = [(offset, f"t{offset}") for offset in range(at, at + size)]
            done += fresh(decided, *rows)
            at += size
    assert len(done) == len(set(done))
    assert set(done) == {f"t{offset}" for offset in range(max(int(name[1:]) for name in done) + 1)}


def test_only_a_jump_asks_where_the_source_ends() -> None:
    def nobody(_topic: str, _partition: int) -> int:
        raise AssertionError("the broker was asked")

    near, far = batch((MAX_JUMP + 9, "a")), batch((MAX_JUMP + 10, "b"))
    check_batch(near, 9, nobody)
    check_batch(
        far, 9, lambda topic, partition: MAX_JUMP + 11 if (topic, partition) == ("transactions", 0) else 0
    )
    with pytest.raises(
        ImpossibleOffset, match=r"claims offset 4106 of transactions\[0\], which ends at 4106"
    ):
        check_batch(far, 9, lambda *_: MAX_JUMP + 10)
    with pytest.raises(ImpossibleOffset, match=r"labels\[3\]"):
        check_offset("labels", 3, 2**62, -1, lambda *_: 17)


def test_a_part_of_a_batch_keeps_its_columns_together() -> None:
    decided = DecidedRows({1: "b"})
    found = decided.fresh(batch((0, "a"), (1, "b"), (2, "c")))
    assert found is not None and found.columns.offset == [0, 2]
    assert np.array_equal(found.as_of, batch((0, "a"), (2, "c")).as_of)
