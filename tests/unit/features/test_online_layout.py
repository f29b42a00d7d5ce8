"""The hot path's packed commands say what the readable ones say."""

from __future__ import annotations

import hiredis
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.profile.codec import (
    IN_PARTS,
    KINDS,
    LAYOUT,
    WHOLE_WORDS,
    encode_profiles,
    max_bytes,
    put_since,
    words_of,
)
from features.profile.records import new_arena
from features.store.batch_commands import Parts, pack_hmget, pack_hset
from features.store.keys import (
    CARD_FRAUDS,
    CARD_STATE,
    KEEP_S,
    VIEWS,
    entity_key,
    hmget,
    hset,
    pack_bytes,
    unpack_bytes,
)  # fmt: skip
from features.store.redis_client import Packed, pack, replies_to
from streams.processor.entity_updates import dtype_of

ids = st.text(min_size=1, max_size=64)


@settings(deadline=None)
@given(
    st.sampled_from(VIEWS), st.lists(ids, min_size=1, max_size=5), st.integers(0, 2**42), st.integers(-5, 2**62),
    st.integers(0, 2**32), st.booleans(), st.sampled_from([WHOLE_WORDS, LAYOUT]),
)  # fmt: skip
def test_packed_hset_is_hset(view, names, event_ms, scalar, seed, expire, layout):
    arena = new_arena(dtype_of(view), len(names))
    chance = np.random.default_rng(seed)
    for record in arena.view(np.uint8).reshape(len(arena), -1):
        record[:: chance.integers(1, 400)] = chance.integers(0, 256)
    slots = np.arange(len(names))[::-1]
    scalars = np.full((len(names), len(view.numbers)), scalar)
    moments = event_ms + np.arange(len(names))
    packed = pack_hset(view, names, arena, slots, moments, scalars, np.full(len(names), expire), layout)
    wanted = b""
    stored = encode_profiles(arena, slots, layout)
    assert layout == LAYOUT or {raw[1] for raw in stored} == {WHOLE_WORDS}
    for name, profile, moment in zip(names, stored, moments.tolist(), strict=True):
        wanted += hiredis.pack_command(hset(view, name, moment, profile, *scalars[0].tolist()))
        if expire:
            wanted += hiredis.pack_command(("EXPIRE", entity_key(view.entity, name), KEEP_S))
    assert packed == Packed(wanted, len(names) * (1 + expire))


@settings(deadline=None)
@given(
    st.sampled_from([view for view in VIEWS if view.in_parts]),
    st.lists(ids, min_size=1, max_size=3),
    st.integers(0, 2**32),
)
def test_packed_hset_in_parts_is_hset_of_the_whole_and_of_what_came_since(view, names, seed):
    chance = np.random.default_rng(seed)
    arena, slots = new_arena(dtype_of(view), len(names)), np.arange(len(names))
    words = words_of(arena)
    words[:, ::3] = chance.integers(0, 1000, words[:, ::3].shape)
    parts = Parts(np.zeros_like(arena), slots, np.zeros((len(arena), 3), dtype=np.int64))
    scalars = np.full((len(names), len(view.numbers)), 7)

    def packed() -> Packed:
        moments, never = slots + 1, np.zeros(len(names), np.bool_)
        return pack_hset(view, names, arena, slots, moments, scalars, never, IN_PARTS, parts)

    wholes = encode_profiles(arena, slots, IN_PARTS)
    wanted = [
        hset(view, name, i + 1, whole, *scalars[0].tolist(), since=b"")
        for i, (name, whole) in enumerate(zip(names, wholes, strict=True))
    ]
    assert packed().data == b"".join(map(hiredis.pack_command, wanted))
    words[:, 5] += 1
    wanted, changed, out = (
        [],
        np.empty(words.shape[1], np.uint64),
        np.empty(max_bytes(words.shape[1]), np.uint8),
    )
    for i, name in enumerate(names):
        end = put_since(words[i], words_of(parts.bases)[i], KINDS[arena.dtype], changed, out, 0)
        wanted.append(hset(view, name, i + 1, None, *scalars[0].tolist(), since=out[:end].tobytes()))
    assert packed().data == b"".join(map(hiredis.pack_command, wanted))


@given(st.lists(ids, max_size=5))
def test_packed_hmget_is_hmget(names):
    for views in ([CARD_STATE], [CARD_STATE, CARD_FRAUDS]):
        wanted = b"".join(hiredis.pack_command(hmget("card", name, *views)) for name in names)
        assert pack_hmget(names, *views) == Packed(wanted, len(names))


@given(st.binary(max_size=40_000))
def test_bytes_survive_their_value(value):
    assert unpack_bytes(pack_bytes(value)) == value


def test_commands_of_both_kinds_go_in_order():
    mixed = [("GET", "a"), Packed(b"raw", 3), ("GET", "b")]
    one, other = hiredis.pack_command(("GET", "a")), hiredis.pack_command(("GET", "b"))
    assert pack(mixed) == one + b"raw" + other
    assert replies_to(mixed) == 5
