"""The benchmark of features: its peers' windows, its table, and that gathered batches do the same work."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.store.keys import key
from features.store.views import CARD_FRAUDS, CARD_STATE, DEVICE_STATE
from loadtest.bench.features_parts.batches import BATCH, do_batch, gathered
from loadtest.bench.features_parts.hot import EVEN, HOT, HOT_SHARE, WORST, payments_at
from loadtest.bench.features_parts.peers import expected, peer_traffic, run
from loadtest.bench.features_parts.processor import byte_rows, keys_of, stored_bytes
from loadtest.bench.features_parts.sparse import scattered
from loadtest.bench.features_parts.traffic import SHARED_ENTITY_COLUMNS, make_traffic, warm_state
from loadtest.bench.harness.table import markdown
from loadtest.peers.installing import PeerError
from loadtest.peers.windows import WINDOWS_MS, Kept, add
from tests.support.parity_world import MemoryRedis

END = datetime(2026, 11, 1, tzinfo=UTC)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, WINDOWS_MS[0], WINDOWS_MS[1], WINDOWS_MS[3]]), st.integers(0, 9999))
    )
)
def test_windows_by_hand_are_those_of_the_definition(steps: list[tuple[int, int]]) -> None:
    kept: Kept = []
    history: list[tuple[int, int]] = []
    at = 1_790_000_000_000
    for step, amount in steps:
        at += step
        history.append((at, amount))
        inside = [[value for then, value in history if at - window < then <= at] for window in WINDOWS_MS]
        assert add(kept, at, amount) == [*map(len, inside), *map(sum, inside)]


def test_right_windows_are_known_beforehand() -> None:
    table = peer_traffic(600)
    assert table.num_rows == 600
    kept: dict[str, Kept] = {}
    at = table["event_time"].cast("int64").to_pylist()
    rows = zip(table["card_id"].to_pylist(), at, table["amount_minor"].to_pylist(), strict=True)
    windows = [add(kept.setdefault(card, []), when, amount) for card, when, amount in rows]
    assert expected(table) == (sum(sum(w[:4]) for w in windows), sum(sum(w[4:]) for w in windows))


def test_gathered_and_scattered_batches_do_the_same_work() -> None:
    traffic = make_traffic(200, 2 * BATCH, END)
    state = warm_state(traffic)
    batch = traffic.batch(traffic.warm, traffic.warm + BATCH)
    (moved,), far = scattered([batch], state, 1_000_000, seed=1)
    small, own = gathered(batch, state)
    few, apart = gathered(moved, far)
    rows = do_batch(small, own)
    assert np.array_equal(rows, do_batch(batch, state), equal_nan=True)
    assert np.array_equal(do_batch(few, apart), do_batch(moved, far), equal_nan=True)
    # scattered over a million nobody pays twice in a batch
    assert len(own.cards) < len(apart.cards) == BATCH


def test_hot_traffic_is_the_same_payments_at_other_places() -> None:
    traffic = make_traffic(200, 3_000, END)
    table = traffic.measured
    first = [names[0] for names in traffic.shared_entity_names]
    chance = [1 / len(names) for names in traffic.shared_entity_names]
    hot = HOT_SHARE + (1 - HOT_SHARE) * chance[0]
    for mix, wanted in ((EVEN, chance), (HOT, [hot, *chance[1:]]), (WORST, [1.0] * 3)):
        moved = payments_at(table, traffic, mix)
        assert moved.drop_columns(list(SHARED_ENTITY_COLUMNS)).equals(
            table.drop_columns(list(SHARED_ENTITY_COLUMNS))
        )
        at = [
            pc.mean(pc.equal(moved[name], one).cast("int8")).as_py()
            for name, one in zip(SHARED_ENTITY_COLUMNS, first, strict=True)
        ]
        assert at == pytest.approx(wanted, abs=0.03)


def test_a_peer_that_ends_without_a_result_is_said_so() -> None:
    with pytest.raises(PeerError, match="no such thing"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"], 60)


def test_a_peer_says_its_result_and_is_ended() -> None:
    told = run([sys.executable, "-c", "print('{\"us\": [1.5]}', flush=True); input()"], 60)
    assert told == {"us": [1.5]}


def test_stored_bytes_are_those_of_all_views() -> None:
    redis = MemoryRedis()
    for view, name, size in (
        (CARD_STATE, "both", 1_500), (CARD_FRAUDS, "both", 100), (CARD_STATE, "state", 10), (DEVICE_STATE, "d", 7),
    ):  # fmt: skip
        redis.call([("SET", key(view, name, 2), b"p" * size)])
    store: Any = _Store(redis)
    assert stored_bytes(store, keys_of("card", ["both", "nobody", "state"], 2)) == [1_600, 10]
    assert stored_bytes(store, keys_of("device", ["d"], 2)) == [7]


def test_their_distribution_is_printed() -> None:
    rows = byte_rows("card", [*range(1, 100), 2_100])
    assert [row.what.rpartition(", ")[2] for row in rows] == ["p50", "p99", "largest"]
    assert [row.middle for row in rows] == pytest.approx([50.5, 119.01, 2_100])
    assert "2,048" in markdown(rows) and "of 100" in rows[0].note
    assert byte_rows("ip", [])[0].note == "not measured: none is stored"


class _Store:
    """As redis-py's client, of a store in memory."""

    def __init__(self, redis: MemoryRedis) -> None:
        self._redis = redis

    def mget(self, keys: list[bytes]) -> list[bytes | None]:
        return list(self._redis.call([("MGET", *keys)])[0])
