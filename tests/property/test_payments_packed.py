"""What a chunk's payments mean for others, packed by a compiled loop, is what a loop over the payments finds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.kernels.columns import PAYMENT
from streams.log.records import PAID_ENTITIES
from streams.processor.payment_updates import _sorted_items, pack_paid, unpack_paid, warm_packing

KINDS = len(PAID_ENTITIES)
#: source partition, whether the card's state took it, and where its merchant, device, ip and customer are at home
rows = st.tuples(
    st.integers(0, 3), st.booleans(), st.lists(st.integers(-1, 3), min_size=KINDS, max_size=KINDS)
)


@settings(deadline=None)
@given(st.lists(rows, max_size=12))
def test_items_are_those_of_each_payment_by_source_and_partition(chunk: list[Any]) -> None:
    n = len(chunk)
    payments = np.zeros(n, dtype=PAYMENT)
    payments["offset"] = np.arange(n)
    cards = np.arange(n, dtype=np.uint32) + 100
    homes = np.array([row[2] for row in chunk], dtype=np.int64).reshape(n, KINDS)
    ids = [[f"{kind}-{i}" for i in range(n)] for kind in range(KINDS)]
    sources = np.array([row[0] for row in chunk], dtype=np.int64)
    keep = np.array([row[1] for row in chunk], dtype=bool)
    wanted: dict[tuple[int, int], list[Any]] = {}
    for i, (source, kept, targets) in enumerate(chunk):
        for kind, target in enumerate(targets):
            if kept and target >= 0:
                wanted.setdefault((source, target), []).append((i, 100 + i, kind, f"{kind}-{i}"))
    found = {}
    for key, columns in pack_paid(payments, cards, ids, homes, sources, keep).items():
        paid = unpack_paid(columns)
        # a payment is there once, however many of its entities are
        assert len(columns.payments) == PAYMENT.itemsize * len(set(paid.payments["offset"].tolist()))
        found[key] = list(
            zip(
                paid.payments["offset"].tolist(),
                paid.cards.tolist(),
                paid.kinds.tolist(),
                paid.ids,
                strict=True,
            )
        )
    assert found == wanted
    warm_packing()
    assert len(_sorted_items.signatures) == 1
