"""After warming, nothing is compiled any more, whatever comes first: one card or many, with or without entities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.card_kernel import card_features
from features.columns import columns_of
from features.entity_kernel import apply_items, entity_features
from features.online.gather import Gather
from features.online.warm import _Example, warm_kernels
from features.profiles import ENTITY, entity_state, new_arena

KERNELS = (card_features, entity_features, apply_items)


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
        gather.load([[None, None]] * len(gather.commands()))
        gather.compute(columns_of(batch, [1_700_000_000_000] * cards, list(range(cards))), apply=apply)
    arena = new_arena(ENTITY, cards)
    one = np.arange(cards)
    apply_items(
        one,
        one,
        np.ones(cards, dtype=np.bool_),
        one + 1_700_000_000_000,
        one,
        one.astype(np.uint32),
        one,
        entity_state(arena),
    )
    assert signatures() == before
