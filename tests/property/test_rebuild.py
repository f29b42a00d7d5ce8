"""State rebuilt from the log is, byte for byte, what the processor keeps, whatever chunks, repetitions and crashes there were."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.redis_client import StoreUnavailable, accepted
from features.store.views import CARD_STATE
from streams.state.rebuild_log import AGAIN
from tests.support.rebuilt_store import rebuilt
from tests.support.stage import Stage
from tests.support.whole import stored, whole


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50))
def test_rebuilt_state_is_the_processors(seed: int, most: int) -> None:
    stage = Stage(seed)
    stage.run(60)
    again = rebuilt(stage.log, most)
    # the ledger index is no part of the state
    state = {key: fields for key, fields in stage.redis.hashes.items() if ":index:" not in key}
    assert again.hashes == state
    said = {key: value for key, value in stage.redis.values.items() if ":said:" in key}
    assert said == {key: value for key, value in again.values.items() if ":said:" in key}
    assert whole(again.values) == whole(stage.redis.values)


def test_the_comparison_sees_profiles() -> None:
    stage = Stage(3)
    stage.run(120)
    again = rebuilt(stage.log, 10)
    first, second = (stored(redis, CARD_STATE, "card-1") for redis in (again, stage.redis))
    assert first and second
    state = whole(stage.redis.values)
    assert len(state) > 10 and whole(again.values) == state
    # a payment more
    name = next(key for key, value in stage.redis.values.items() if value == second)
    stage.redis.values[name] = stored(stage.redis, CARD_STATE, "card-2") or b""
    assert whole(again.values) != whole(stage.redis.values)


def test_a_refused_write_ends_the_rebuild_in_words() -> None:
    with pytest.raises(StoreUnavailable, match="run the rebuild again: OOM"):
        accepted([b"OK", hiredis.ReplyError("OOM command not allowed")], AGAIN)
    accepted([b"OK", [1, 2]], AGAIN)
