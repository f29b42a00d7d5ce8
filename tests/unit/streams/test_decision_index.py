"""The ledger index: entries in hashes, found for 60 days whatever day they were written on."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from features.store.redis_client import Packed, StoreUnavailable
from streams.log.decision_index import (
    BUCKETS,
    CLOCKS_APART_S,
    DAY_S,
    KEEP_PAGE_S,
    KEEP_S,
    WINDOW_S,
    IndexedDecision,
    IndexWriter,
    PageError,
    Place,
    Row,
    bucket_key,
    entries_in,
    lookups,
    parse_entry,
)
from tests.support.parity_world import MemoryRedis, plain

#: the first moment of a window
BEGIN_S = 345.0 * WINDOW_S
DAYS = KEEP_S // DAY_S


class Index:
    """A writer and the store that it writes to."""

    def __init__(self) -> None:
        self.redis = MemoryRedis()
        self.writer = IndexWriter()

    def write(self, now_s: float, *ids: str, offset: int = 7) -> list[tuple[Any, ...]]:
        rows = [Row(offset + i, name, IndexedDecision(b"{}", None)) for i, name in enumerate(ids)]
        commands = self.writer.writes(0, rows, now_s)
        self.redis.call(commands)
        return plain(commands)

    def find(self, transaction_id: str, now_s: float) -> Place | None:
        looks = lookups([transaction_id], now_s)
        (entry,) = entries_in(self.redis.call([looks]), now_s)
        return parse_entry(entry) if entry else None


@pytest.mark.parametrize(
    "into_window",
    [0, 1, 3600, WINDOW_S // 2, WINDOW_S - CLOCKS_APART_S - 1, WINDOW_S - CLOCKS_APART_S, WINDOW_S - 1],
)
def test_an_entry_is_found_for_sixty_days_and_not_longer(into_window):
    index, written = Index(), BEGIN_S + into_window
    index.write(written, "tx-1")
    for later in (0, 1, DAY_S, KEEP_S // 2, KEEP_S):
        assert index.find("tx-1", written + later) == Place("0:7-7", 0)
    assert index.find("tx-1", written + KEEP_S + DAY_S) is None
    assert index.find("tx-2", written) is None


def test_what_an_entry_names_is_there_as_long_as_the_entry_counts():
    (page, *_) = Index().write(BEGIN_S, "tx-1")
    assert page[0] == "SET" and page[-2:] == ("EX", KEEP_PAGE_S)
    # an entry counts to the end of its last day
    assert KEEP_PAGE_S >= KEEP_S + DAY_S


def test_a_clock_that_is_minutes_behind_the_writers_finds_what_it_wrote():
    index = Index()
    index.write(BEGIN_S + 60, "tx-1")
    assert index.find("tx-1", BEGIN_S - 200) == Place("0:7-7", 0)


def test_the_newest_of_two_windows_counts():
    index = Index()
    index.write(BEGIN_S - 10, "tx-1", offset=7)
    index.write(BEGIN_S + 10, "tx-1", offset=900)
    assert index.find("tx-1", BEGIN_S + 20) == Place("0:900-900", 0)


def test_a_hash_is_told_once_when_to_expire_and_after_it_is_there():
    index = Index()
    first = index.write(BEGIN_S + 5, "tx-1", "tx-2")
    names = [command[0] for command in first]
    assert names == ["SET", b"HSET", b"HSET", b"EXPIREAT", b"EXPIREAT"]
    assert [command[1] for command in first[3:]] == [bucket_key(f"tx-{n}", 345) for n in (1, 2)]
    for _, key, until in first[3:]:
        # spread over a day, so that they are not all freed in one second
        assert int(until) == BEGIN_S + 2 * WINDOW_S + int(key.rpartition(b":")[2])
    assert [c[0] for c in index.write(BEGIN_S + 6, "tx-1")] == ["SET", b"HSET"]
    # the hashes of the next window are others
    again = index.write(BEGIN_S + WINDOW_S, "tx-1")
    assert [c[0] for c in again] == ["SET", b"HSET", b"EXPIREAT"]
    assert again[1][1] == bucket_key("tx-1", 346)


def test_the_hashes_of_two_windows_are_each_told_once():
    index = Index()
    first = index.write(BEGIN_S - 2, "tx-1")
    assert [(c[0], c[1]) for c in first[1:]] == [
        (name, bucket_key("tx-1", window)) for window in (344, 345) for name in (b"HSET", b"EXPIREAT")
    ]
    assert [c[0] for c in index.write(BEGIN_S - 1, "tx-1")] == ["SET", b"HSET", b"HSET"]
    assert [c[0] for c in index.write(BEGIN_S, "tx-1")] == ["SET", b"HSET"]


def test_many_ids_share_the_hashes():
    keys = {bucket_key(f"tx-{n}", 345) for n in range(3 * BUCKETS)}
    assert 0.9 * BUCKETS < len(keys) <= BUCKETS


@pytest.mark.parametrize("stored", [b"?", b"0:7-7:0@", b"0:7-7:0@x", b"@", b"@20000", b"0:7-7@20000"])
def test_what_is_no_entry_is_refused_and_not_taken_for_nothing(stored):
    (entry,) = entries_in([stored, None], 20_000.0 * DAY_S)
    assert entry is not None
    with pytest.raises(PageError):
        parse_entry(entry)


def test_a_store_that_answers_with_an_error_knows_nothing():
    with pytest.raises(StoreUnavailable, match="LOADING"):
        entries_in([None, hiredis.ReplyError("LOADING Redis is loading")], 0.0)


def test_lookups_ask_as_many_times_as_they_say():
    looks = lookups(["a", "", "b" * 64, "ü\n"], BEGIN_S)
    assert isinstance(looks, Packed) and len(plain([looks])) == looks.commands == 8
