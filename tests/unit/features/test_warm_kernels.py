"""After warming, nothing is compiled any more, whatever comes first: one card or many, with or without entities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.kernels.columns import columns_of
from features.kernels.payer import apply_payments, payer_features, transaction_features
from features.kernels.shared_entity import apply_frauds, apply_items, fraud_columns, shared_entity_columns
from features.profile.codec import IN_PARTS, _pack, encode_profiles
from features.profile.records import SHARED_ENTITY, new_arena
from features.store.batch_commands import Parts, _hmget, _hset, pack_hset
from features.store.keys import MERCHANT_STATE, pack_bytes
from features.store.profile_batch import Gather
from features.store.redis_client import replies_to
from features.store.stored_profiles import _read, read_profiles
from features.store.warm import _Example, warm_kernels

KERNELS = (
    payer_features, transaction_features, fraud_columns, shared_entity_columns, apply_payments, apply_items, apply_frauds,
    _pack, _read, _hset, _hmget,
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
        gather.load([[None] * 3] * replies_to(gather.commands()))
        payments = columns_of(batch, [1_700_000_000_000] * cards, list(range(cards)))
        gather.compute(payments, apply=apply)
        apply_payments(payments, gather.customer_slots, gather.customers)
    arena = new_arena(SHARED_ENTITY, cards)
    one = np.arange(cards)
    apply_items(one, one, one * 0, one + 1_700_000_000_000, one, one.astype(np.uint32), one, arena)
    scalars = np.zeros((cards, 1), dtype=np.int64)
    bases = Parts(np.zeros(cards + 2, SHARED_ENTITY), one, np.zeros((cards + 2, 3), dtype=np.int64))
    for parts in (None, bases):
        pack_hset(
            MERCHANT_STATE, [str(name) for name in one], arena, one, one, scalars, one > 0, IN_PARTS, parts
        )
    for slot, stored in enumerate(encode_profiles(arena, one, IN_PARTS)):
        read_profiles(arena, np.array([slot]), [pack_bytes(stored)], [pack_bytes(b"")])
    assert signatures() == before
