"""Profiles written in parts: what is read is what was written, whatever changed, and never more than 2 KB of it is stored."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.profile.codec import (
    IN_PARTS,
    LAYOUT,
    MAX_BYTES,
    NOTHING,
    WHOLE_WORDS,
    ProfileError,
    encode_profiles,
    words_of,
)
from features.profile.records import PAYER, new_arena
from features.store.batch_commands import Parts, pack_hset
from features.store.keys import (
    CARD_STATE,
    DEVICE_STATE,
    MERCHANT_STATE,
    PROFILE_FIELD,
    SINCE_FIELD,
    View,
    entity_key,
    hset,
    pack_bytes,
    pack_int64,
    unpack_bytes,
)
from features.store.profile_cache import Kept, ProfileCache
from features.store.stored_profiles import read_profiles
from streams.log.partitioning import entity_partition
from tests.support.parity_world import MemoryRedis, plain
from tests.support.whole import profile_of

HOME = partial(entity_partition, partitions=2)
PROFILE, SINCE = PROFILE_FIELD[CARD_STATE.name], SINCE_FIELD[CARD_STATE.name]


class Writer:
    """Profiles of cards "0", "1", ... in an arena, and the store that they are written to."""

    def __init__(self, count: int) -> None:
        self.redis, self.arena = MemoryRedis(), new_arena(PAYER, count)
        self.words = words_of(self.arena)
        self.parts = Parts(np.zeros_like(self.arena), np.arange(count), np.zeros((count, 3), dtype=np.int64))

    def write(self) -> list[dict[bytes, bytes]]:
        """One write of each; the fields of each command."""
        n = len(self.arena)
        commands = [
            pack_hset(
                CARD_STATE, [str(i) for i in range(n)], self.arena, np.arange(n), np.ones(n, np.int64),
                np.zeros((n, 2), np.int64), np.zeros(n, np.bool_), IN_PARTS, self.parts,
            )
        ]  # fmt: skip
        self.redis.call(commands)
        return [dict(zip(sent[2::2], sent[3::2], strict=True)) for sent in plain(commands)]

    def stored(self, card: int) -> dict[bytes, bytes]:
        return self.redis.hashes[entity_key("card", str(card))]


values = st.sampled_from([0, 1, 255, 2**16, 2**40 + 5, 2**64 - 1])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 249), values), max_size=40), max_size=30),
    st.integers(0, 250),
)
def test_what_is_read_is_what_was_written_and_takes_two_kilobytes_at_most(changes: Any, dense: int) -> None:
    """``dense``: how many words have no byte that is zero, from the beginning on."""
    writer = Writer(2)
    writer.words[:, :dense] = 2**64 - 1
    for number, change in enumerate(changes):
        for card, word, value in change:
            writer.words[card, word] = value
        writer.arena["offset"] = number
        writer.write()
        for card in range(2):
            fields = writer.stored(card)
            assert profile_of(CARD_STATE, fields)[0].tobytes() == writer.arena[card].tobytes()
            assert sum(len(unpack_bytes(fields[field]) or b"") for field in (PROFILE, SINCE)) <= MAX_BYTES


def test_a_whole_one_is_written_as_often_as_that_saves_bytes() -> None:
    """A word more with every write, on a profile of 150: neither whole each time nor never again."""
    writer = Writer(2)
    writer.words[:, 100:] = 2**40 + 1
    sizes, wholes = [], []
    for number in range(100):
        writer.arena["offset"] = number
        writer.words[:, 1 + number % 99] += 2**20 + number
        fields = writer.write()[0]
        sizes.append(len(fields.get(PROFILE, b"") + fields[SINCE]))
        wholes.append(PROFILE in fields)
    whole = sizes[0]
    assert wholes[0] and not wholes[1] and 3 < sum(wholes) < 20
    assert np.mean(sizes) < whole / 3
    # with fewer or more of them it would have been more bytes
    each = [size for size, is_whole in zip(sizes[1:], wholes[1:], strict=True) if not is_whole]
    first = np.diff(np.flatnonzero(wholes))[0]
    grown = np.cumsum([whole, *each[: first - 1]]) / np.arange(1, first + 1)
    assert grown.argmin() >= first - 2


def test_a_profile_whose_words_are_shorter_is_whole_each_time() -> None:
    writer = Writer(2)
    writer.words[:] = 2**64 - 1
    for _ in range(3):
        fields = writer.write()[0]
        assert (unpack_bytes(fields[PROFILE]) or b"")[1] == WHOLE_WORDS and unpack_bytes(fields[SINCE]) == b""


def test_devices_and_other_layouts_are_written_whole() -> None:
    for view, layout in ((DEVICE_STATE, IN_PARTS), (MERCHANT_STATE, LAYOUT), (MERCHANT_STATE, WHOLE_WORDS)):
        cache = ProfileCache(HOME, layout=layout)
        cache.begin_session([0, 1])
        redis = MemoryRedis()
        written = [changed(cache, redis, view, number) for number in range(3)]
        assert [PROFILE_FIELD[view.name] in fields for fields in written] == [True] * 3
        assert {(unpack_bytes(f[PROFILE_FIELD[view.name]]) or b"")[1] for f in written} == {
            min(layout, LAYOUT)
        }
        assert not any(SINCE_FIELD.get(view.name) in fields for fields in written)


def changed(
    cache: ProfileCache, redis: MemoryRedis, view: View, number: int, *, gone: bool = False
) -> dict[bytes, bytes]:
    """One batch of a worker that changes the entity "x" and writes it; the fields that are written."""
    cache.begin_batch()
    slots = cache.slots(view.entity, ["x"])
    cache.load(redis.call(cache.reads()))
    arena, places = cache.profiles_of(view, slots)
    arena["offset"][places] = number
    # a profile that is longer than what comes with one event
    words_of(arena)[places, 100:200] = 2**40 + 1
    said = Kept(np.zeros(1, np.bool_), np.array([gone]))
    scalars, parts = np.zeros((1, len(view.numbers)), np.int64), cache.parts_of(view, slots, said)
    packed = pack_hset(view, ["x"], arena, places, slots + 1, scalars, said.expire, cache.layout, parts)
    redis.call([packed])
    (sent,) = plain([packed])
    return dict(zip(sent[2::2], sent[3::2], strict=True))


def worker(layout: int = IN_PARTS) -> ProfileCache:
    cache = ProfileCache(HOME, layout=layout)
    cache.begin_session([0, 1])
    return cache


def test_another_worker_goes_on_from_what_was_read() -> None:
    redis, cache = MemoryRedis(), worker()
    assert [PROFILE in changed(cache, redis, CARD_STATE, number) for number in range(3)] == [
        True,
        False,
        False,
    ]
    again = worker()
    assert [PROFILE in changed(again, redis, CARD_STATE, number) for number in (3, 4)] == [False, False]
    assert profile_of(CARD_STATE, redis.hashes[entity_key("card", "x")])["offset"][0] == 4


def test_to_what_may_be_gone_from_the_store_nothing_is_added() -> None:
    """Its hash expires when it was silent for long, and what came since would be all that there is."""
    redis, cache = MemoryRedis(), worker()
    assert [PROFILE in changed(cache, redis, CARD_STATE, number) for number in range(2)] == [True, False]
    redis.hashes.clear()
    assert PROFILE in changed(cache, redis, CARD_STATE, 2, gone=True)
    assert profile_of(CARD_STATE, redis.hashes[entity_key("card", "x")])["offset"][0] == 2
    assert PROFILE not in changed(cache, redis, CARD_STATE, 3)


def test_of_two_parts_none_may_be_missing() -> None:
    """The profile with nothing beside it would be another state, and so would what came since alone."""
    redis, key = MemoryRedis(), entity_key("card", "x")
    changed(worker(), redis, CARD_STATE, 0)
    changed(worker(), redis, CARD_STATE, 1)
    both = redis.hashes[key]
    for missing in (PROFILE, SINCE):
        for nothing in ({}, {missing: b""}):
            redis.hashes[key] = {field: value for field, value in both.items() if field != missing} | nothing
            with pytest.raises(ProfileError, match="one of them is missing"):
                changed(worker(), redis, CARD_STATE, 2)


def test_after_a_profile_of_other_code_it_is_written_whole() -> None:
    """Of code that writes whole ones, and of code that knows another number of words."""
    redis = MemoryRedis()
    changed(worker(), redis, CARD_STATE, 0)
    changed(worker(), redis, CARD_STATE, 1)
    key = entity_key("card", "x")
    assert unpack_bytes(redis.hashes[key][SINCE])
    # older code, or a rebuild: what came since stays beside it and does not count
    assert SINCE not in changed(worker(LAYOUT), redis, CARD_STATE, 2)
    assert profile_of(CARD_STATE, redis.hashes[key])["offset"][0] == 2
    fields = changed(worker(), redis, CARD_STATE, 3)
    assert PROFILE in fields and unpack_bytes(fields[SINCE]) == b""
    (shorter,) = encode_profiles(profile_of(CARD_STATE, redis.hashes[key]), np.array([0]), IN_PARTS)
    words = PAYER.itemsize // 8
    assert words % 8 != 1
    # the last word is zero in it, and its mask as long
    redis.call(
        [hset(CARD_STATE, "x", 9, shorter[:2] + (words - 1).to_bytes(2, "little") + shorter[4:], 0, 0)]
    )
    assert PROFILE in changed(worker(), redis, CARD_STATE, 4)


def test_what_was_forgotten_is_read_in_its_parts() -> None:
    redis = MemoryRedis()
    cache = ProfileCache(HOME, budget_bytes=0)
    cache.begin_session([0, 1])
    written = [changed(cache, redis, CARD_STATE, number) for number in range(4)]
    assert [PROFILE in fields for fields in written] == [True, False, False, False]
    assert profile_of(CARD_STATE, redis.hashes[entity_key("card", "x")])["offset"][0] == 3


def test_memory_counts_what_is_kept_twice() -> None:
    for layout, held in ((IN_PARTS, 5), (LAYOUT, 10)):
        cache = ProfileCache(HOME, 10 * PAYER.itemsize, layout)
        cache.begin_session([0, 1])
        for count, forgets in ((held, False), (held + 1, True)):
            cache.begin_batch()
            cache.slots("card", [f"c-{i}" for i in range(count)])
            assert cache.begin_batch() == forgets


def test_more_cards_than_there_was_room_for_keep_their_parts() -> None:
    redis, cache = MemoryRedis(), ProfileCache(HOME, budget_bytes=2 * 2 * PAYER.itemsize)
    cache.begin_session([0, 1])
    assert PROFILE in changed(cache, redis, CARD_STATE, 0)
    before = cache.parts_of(CARD_STATE, np.array([0]), Kept(np.array([False]), np.array([False])))
    assert not cache.begin_batch()
    many = ["x", *(f"c-{i}" for i in range(9_000))]
    cache.slots("card", many)
    cache.load(redis.call(cache.reads()))
    after = cache.parts_of(CARD_STATE, np.array([0]), Kept(np.array([False]), np.array([False])))
    assert before is not None and after is not None and len(before.bases) < 9_000 < len(after.bases)
    arena, places = cache.profiles_of(CARD_STATE, np.array([0]))
    arena["offset"][places] = 1
    packed = pack_hset(
        CARD_STATE, ["x"], arena, places, places + 1, np.zeros((1, 2), np.int64), np.array([False]), cache.layout, after
    )  # fmt: skip
    redis.call([packed])
    assert PROFILE not in plain([packed])[0]
    stored = profile_of(CARD_STATE, redis.hashes[entity_key("card", "x")])
    assert stored[0].tobytes() == arena[places[0]].tobytes()


@pytest.mark.parametrize(
    "value",
    [pack_int64(7), b"\x0a", b"\x0a\x80", b"\x0a\x05four", b"\x0a\x03four", b"\x0a" + b"\x80" * 6 + b"\x01"],
)
def test_a_value_that_is_not_bytes_is_refused(value: bytes) -> None:
    arena, both = new_arena(PAYER, 2), np.arange(2)
    (good,) = encode_profiles(arena, np.array([0]))
    for columns in (([pack_bytes(good), value], [None, None]), ([pack_bytes(good), None], [b"", value])):
        with pytest.raises(ValueError, match=f"not bytes .protobuf {value[:4].hex()}"):
            read_profiles(arena, both, *columns)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.just(b""), st.integers(0, 2**40)), min_size=1, max_size=6), st.booleans()
)
def test_profiles_are_found_in_their_values(stored: list[Any], with_bases: bool) -> None:
    """None, nothing, and profiles of different lengths, side by side."""
    n = len(stored)
    arena, wanted = new_arena(PAYER, n), new_arena(PAYER, n)
    values: list[bytes | None] = []
    for i, number in enumerate(stored):
        if isinstance(number, int):
            words_of(wanted)[i, :: 1 + number % 40] = number
            values.append(
                pack_bytes(encode_profiles(wanted, np.array([i]), IN_PARTS if number % 2 else LAYOUT)[0])
            )
        else:
            values.append(None if number is None else pack_bytes(b""))
    since = [pack_bytes(b"") if isinstance(number, int) else None for number in stored]
    bases = np.zeros_like(arena) if with_bases else None
    read = read_profiles(arena, np.arange(n), values, since, bases)
    assert arena[:n].tobytes() == wanted[:n].tobytes()
    words = PAYER.itemsize // 8
    for i, (number, value) in enumerate(zip(stored, values, strict=True)):
        if isinstance(number, int):
            raw = unpack_bytes(value) or b""
            assert (read.in_parts[i], read.sizes[i]) == (words if raw[1] == IN_PARTS else 0, len(raw))
            assert bases is None or bases[i].tobytes() == wanted[i].tobytes()
        else:
            assert read.in_parts[i] == NOTHING
