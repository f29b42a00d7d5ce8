"""After warming, nothing is compiled any more, whatever comes first: one card or many, with or without entities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.engine import Places, Profiles, _copy, computed, computed_beside
from features.kernels.columns import columns_of
from features.kernels.payer import apply_payments, payer_features, transaction_features
from features.kernels.shared_entity import apply_frauds, apply_items, fraud_columns, shared_entity_columns
from features.profile.codec import _pack, _read, encode_profiles, read_profiles
from features.profile.records import SHARED_ENTITY, new_arena
from features.store.commands import _put_keys, _put_pairs, pack_mset
from features.store.partitions import _hash, _place_entities, _place_keys, ids_together, text_hashes
from features.store.profiles.batch import Gather
from features.store.redis_client import replies_to
from features.store.views import MERCHANT_STATE
from features.store.warm import _Example, warm_kernels

KERNELS = (
    payer_features, transaction_features, fraud_columns, shared_entity_columns, apply_payments, apply_items, apply_frauds,
    _pack, _read, _put_keys, _put_pairs, _place_entities, _place_keys, _hash, _copy,
)  # fmt: skip


def signatures() -> list[int]:
    return [len(kernel.signatures) for kernel in KERNELS]


@pytest.mark.parametrize("cards", [1, 2, 50])
@pytest.mark.parametrize("apply", [True, False])
def test_no_batch_compiles_a_kernel_again(cards: int, apply: bool) -> None:
    warm_kernels()
    before = signatures()
    bare = _Example(
        device_id=None,
        ip=None,
        customer_id=None,
        latitude=None,
        longitude=None,
        channel=None,
        mcc=None,
        country=None,
    )
    for example in (_Example(), bare):
        batch = [replace(example, card_id=f"c-{i}", transaction_id=f"t-{i}") for i in range(cards)]
        gather = Gather(batch)
        gather.load([[None]] * replies_to(gather.commands(2)))
        payments = columns_of(batch, [1_700_000_000_000] * cards, list(range(cards)))
        gather.compute(payments, apply=apply)
        profiles = Profiles(gather.cards, gather.customers, gather.shared_entities, gather.frauds)
        one = np.zeros(cards, dtype=np.int64)
        places = Places(one, one - 1, np.zeros((cards, 3), np.int64), np.zeros((cards, 2), np.int64))
        computed_beside(payments, places, profiles)
        apply_payments(payments, gather.customer_slots, gather.customers)
    for column in ids_together([str(i) for i in range(cards)], [None] * cards):
        text_hashes(column.names)
    arena = new_arena(SHARED_ENTITY, cards)
    one = np.arange(cards)
    apply_items(one, one, one * 0, one + 1_700_000_000_000, one, one.astype(np.uint32), one, arena)
    pack_mset(MERCHANT_STATE, [str(name) for name in one], arena, one, 2, 20_000)
    for slot, stored in enumerate(encode_profiles(arena, one, 20_000)):
        read_profiles(arena, np.array([slot]), [stored])
    assert signatures() == before


def test_arguments_of_different_lengths_never_reach_the_kernels() -> None:
    """They would read and write memory of others: a processor that warmed up so ended with a segmentation fault now and then."""
    batch = [_Example(transaction_id=f"t-{i}") for i in range(2)]
    gather = Gather(batch)
    payments = columns_of(batch, [1_700_000_000_000] * 2, [0, 1])
    profiles = Profiles(gather.cards, gather.customers, gather.shared_entities, gather.frauds)

    def places(rows: int) -> dict[str, np.ndarray]:
        none = np.full(rows, -1, np.int64)
        return {
            "cards": none, "customers": none, "shared_entities": np.full((rows, 3), -1), "frauds": np.full((rows, 2), -1)
        }  # fmt: skip

    computed(payments, Places(**places(2)), profiles, apply=False)
    for wrong in Places._fields:
        with pytest.raises(ValueError, match="2 payments, but"):
            computed(payments, Places(**{**places(2), wrong: places(5)[wrong]}), profiles, apply=False)
    with pytest.raises(ValueError, match="2 payments, but"):
        computed(payments, Places(**places(2)), profiles, apply=False, known=np.zeros(5, np.uint8))
