"""The log is kept for as long as the longest entry looks back; who reads it again says how far it is."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from typing import Any

from features.catalogue import FEATURES, LATE_BOUND_S, LONGEST_LOOK_BACK_S
from features.transaction import MAX_AHEAD_MS
from streams.audit.parity.truncation import cut_before
from streams.log.topics import DAY_MS, ENTITIES, HOUR_MS, TRANSACTIONS
from streams.state.rebuild_work import _follow, warn_truncated


def test_the_log_of_state_reaches_as_far_as_the_longest_entry() -> None:
    for feature in FEATURES:
        if feature.window_s:
            wanted = 1000 * (feature.window_s + feature.label_delay_s + LATE_BOUND_S) + MAX_AHEAD_MS
            assert TRANSACTIONS.retention_ms == ENTITIES.retention_ms > wanted, feature.name
    assert 1000 * LONGEST_LOOK_BACK_S == 37 * DAY_MS + 8 * HOUR_MS


def test_with_so_much_of_it_every_window_is_proof() -> None:
    now_ms = 1_790_000_000_000
    first_ms = now_ms - TRANSACTIONS.retention_ms
    late_ms = now_ms - 1000 * LATE_BOUND_S
    assert all(late_ms - 1000 * f.look_back_s > cut_before(first_ms) for f in FEATURES if f.look_back_s)


def test_who_reads_a_cut_log_is_told_what_begins_there() -> None:
    said: list[str] = []
    warn_truncated({"transactions": {0: 0, 1: 12_345}, "entities": {0: 0}}, said.append)
    (text,) = said
    assert "transactions[1] from offset 12,345" in text and "last 40 days" in text and "ages, habits" in text
    warn_truncated({"transactions": {0: 0}}, said.append)
    assert len(said) == 1


def test_progress_is_said_however_short_the_work() -> None:
    done: Future[Any] = Future()
    done.set_result(None)
    said: list[str] = []
    _follow([done], queue.Queue(), 5_000, said.append)
    assert len(said) == 1 and said[0].startswith("5,000 of 5,000 records, ")
    broken: Future[Any] = Future()
    broken.set_exception(OSError("the disk"))
    _follow([broken, Future()], _Full(), 5_000, said.append)
    assert len(said) == 1, "what failed did not come to its end"
    _follow([], queue.Queue(), 0, said.append)
    assert len(said) == 1


class _Full:
    def get(self, timeout: float) -> int:
        return 7
