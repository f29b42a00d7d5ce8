"""The hot path's packed commands say what the readable ones say."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from features.online.layout import (
    CARD_FRAUDS,
    CARD_STATE,
    VIEWS,
    hmget,
    hset,
    pack_bytes,
    packed_hmget,
    packed_hset,
    unpack_bytes,
)  # fmt: skip
from features.online.resp import pack

ids = st.text(min_size=1, max_size=64)


@given(st.sampled_from(VIEWS), ids, st.integers(0, 2**42), st.binary(max_size=3000), st.integers(-5, 2**62))
def test_packed_hset_is_hset(view, entity_id, event_ms, profile, scalar):
    scalars = [scalar] * (len(view.fields) - 1)
    packed = packed_hset(view, entity_id, event_ms, profile, *scalars)
    assert packed == hiredis.pack_command(hset(view, entity_id, event_ms, profile, *scalars))


@given(ids)
def test_packed_hmget_is_hmget(entity_id):
    for views in ([CARD_STATE], [CARD_STATE, CARD_FRAUDS]):
        assert packed_hmget("card", entity_id, *views) == hiredis.pack_command(
            hmget("card", entity_id, *views)
        )


@given(st.binary(max_size=40_000))
def test_bytes_survive_their_value(value):
    assert unpack_bytes(pack_bytes(value)) == value


def test_commands_of_both_kinds_go_in_order():
    assert pack([("GET", "a"), b"raw", ("GET", "b")]) == hiredis.pack_command(
        ("GET", "a")
    ) + b"raw" + hiredis.pack_command(("GET", "b"))
