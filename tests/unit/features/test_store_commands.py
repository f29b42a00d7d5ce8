"""The hot path's packed commands, keys and partitions say what the readable ones say."""

from __future__ import annotations

from zlib import crc32

import hiredis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.kernels.columns import text_hash
from features.profile.codec import encode_profiles, read_profiles
from features.profile.records import new_arena
from features.store.commands import pack_mget, pack_mset
from features.store.keys import (
    applied_key,
    epoch_key,
    group_of,
    key,
    label_statement_key,
    position_key,
    profile_version,
    version_of,
)
from features.store.partitions import (
    entity_partition,
    entity_partitions,
    ids_together,
    names_of,
    partitions_of,
    text_hashes,
)
from features.store.redis_client import Packed, pack, replies_to
from features.store.views import CARD_STATE, ENTITIES, JOIN_KEYS, MERCHANT_STATE, TRANSACTIONS, VIEWS

ids = st.text(min_size=1, max_size=64)
some_ids = st.lists(ids, min_size=1, max_size=5)


@settings(deadline=None)
@given(st.sampled_from(VIEWS), some_ids, st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 2**16 - 1))
def test_packed_mset_is_mset(view, names, seed, partitions, day):
    arena = new_arena(view.dtype, len(names))
    chance = np.random.default_rng(seed)
    for record in arena.view(np.uint8).reshape(len(arena), -1):
        record[:: chance.integers(1, 400)] = chance.integers(0, 256)
    slots = np.arange(len(names))[::-1]
    profiles = encode_profiles(arena, slots, day)
    pairs = [
        part for name, raw in zip(names, profiles, strict=True) for part in (key(view, name, partitions), raw)
    ]
    wanted = Packed(hiredis.pack_command(("MSET", *pairs)), 1)
    assert pack_mset(view, names, arena, slots, partitions, day) == wanted
    back = new_arena(view.dtype, len(names))
    read_profiles(back, slots, profiles)
    assert back[: len(names)].tobytes() == arena[: len(names)].tobytes()


@settings(deadline=None)
@given(st.sampled_from(VIEWS), some_ids, st.integers(1, 12))
def test_packed_mget_is_mget(view, names, partitions):
    wanted = hiredis.pack_command(("MGET", *(key(view, name, partitions) for name in names)))
    assert pack_mget(view, names, partitions) == Packed(wanted, 1)


def test_of_nobody_nothing_is_asked_or_written() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert pack_mget(CARD_STATE, [], 2) == Packed(b"", 0)
    assert pack_mset(CARD_STATE, [], new_arena(CARD_STATE.dtype, 1), none, 2, 0) == Packed(b"", 0)


@settings(deadline=None)
@given(some_ids, st.integers(1, 12))
def test_entities_are_placed_together_as_one_by_one(names, partitions):
    for entity in JOIN_KEYS:
        wanted = [crc32(f"{entity}:{name}".encode()) % partitions for name in names]
        assert entity_partitions(entity, names_of(names), partitions).tolist() == wanted
        assert [entity_partition(entity, name, partitions) for name in names] == wanted


@given(st.lists(st.tuples(st.text(max_size=64), st.none() | st.text(max_size=64)), max_size=8))
def test_ids_of_several_kinds_are_encoded_and_hashed_together_as_one_by_one(rows):
    columns = [row[0] for row in rows], [row[1] for row in rows]
    for column, found in zip(columns, ids_together(*columns), strict=True):
        assert found.ids == column
        assert text_hashes(found.names).tolist() == [text_hash(name) if name else 0 for name in column]
        spans = zip(found.names.ends[:-1], found.names.ends[1:], strict=True)
        assert [bytes(found.names.text[a:b]).decode() for a, b in spans] == [name or "" for name in column]


@given(st.sampled_from(VIEWS), ids, st.integers(1, 30), st.integers(1, 40))
def test_a_key_begins_with_the_tag_of_the_partition_whose_position_it_is_written_with(
    view, name, partitions, version
):
    found = key(view, name, partitions, version)
    if view is CARD_STATE:
        topic, partition = TRANSACTIONS, int(partitions_of([name], partitions)[0])
    else:
        topic, partition = ENTITIES, entity_partition(view.entity, name, partitions)
    group = group_of(version)
    beside = [epoch_key(topic, partition, group), position_key(topic, partition, group)]
    if topic == ENTITIES:
        beside += [applied_key(partition, group), label_statement_key(partition, f"card:{name}:tx-1", group)]
    tag = found[: found.index(b"}") + 1]
    assert {each[: each.index("}") + 1].encode() for each in beside} == {tag}
    assert profile_version(found) == version_of(found) == version
    for each in beside:
        assert (profile_version(each.encode()), version_of(each.encode())) == (None, version)


def test_keys_are_these_bytes() -> None:
    """State that is stored is looked for under them."""
    assert key(CARD_STATE, "card-1", 2) == b"{t1}v1:card:card-1"
    assert key(MERCHANT_STATE, "m-1", 2) == b"{e0}v1:merchant:m-1"
    assert [view.name for view in VIEWS] == [
        "card", "card_frauds", "merchant", "device", "ip", "customer", "customer_frauds",
    ]  # fmt: skip
    assert position_key("transactions", 3, "v1") == "{t3}v1:position"
    assert epoch_key("labels", 0, "labels") == "{l0}labels:epoch"
    assert applied_key(3) == "{e3}v1:applied"
    assert label_statement_key(3, "card:c:tx") == "{e3}v1:said:card:c:tx"


@pytest.mark.parametrize(
    "foreign", [b"tollgate:edge:{t1}v1:card:x", b"{t1}v:card:x", b"x{t1}v1:card:x", b"{l1}labels:epoch"]
)
def test_other_keys_belong_to_no_version(foreign: bytes) -> None:
    assert profile_version(foreign) is version_of(foreign) is None


def test_commands_of_both_kinds_go_in_order():
    mixed = [("GET", "a"), Packed(b"raw", 3), ("GET", "b")]
    one, other = hiredis.pack_command(("GET", "a")), hiredis.pack_command(("GET", "b"))
    assert pack(mixed) == one + b"raw" + other
    assert replies_to(mixed) == 5
