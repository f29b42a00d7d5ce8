"""Slots by id: those of a dict, whatever the ids are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.store.partitions import names_of
from features.store.profiles.slot_table import SlotTable


def slots_of(table: SlotTable, known: dict[str, int], ids: list[str]) -> list[int]:
    """As ProfileCache does: unknown ids get the next slot."""
    names = names_of(ids)
    found, hashes = table.find(names.text, names.ends)
    for i in np.flatnonzero(found == -2).tolist():
        found[i] = table.add(hashes[i], len(known))
        known.setdefault(ids[i], len(known))
    return found.tolist()  # type: ignore[no-any-return]


@given(
    st.lists(
        st.lists(
            st.text(max_size=20) | st.sampled_from(["a", "b", "aa", "\x00", "\x00\x00", "é"]), max_size=40
        ),
        max_size=20,
    )
)
def test_slots_are_those_of_a_dict(batches: list[list[str]]) -> None:
    ids = [[name.encode("utf-8", "replace").decode() for name in batch] for batch in batches]
    table, known = SlotTable(), dict[str, int]()
    for batch in ids:
        found = slots_of(table, known, batch)
        assert found == [known[name] if name else -1 for name in batch]


def test_it_grows() -> None:
    table, known = SlotTable(), dict[str, int]()
    many = [f"card-{i}" for i in range(50_000)]
    for start in range(0, len(many), 7_000):
        slots_of(table, known, many[start : start + 7_000])
    assert slots_of(table, known, many) == list(range(50_000))
    assert len(known) == 50_000


def test_the_hash_is_a_keyed_function_of_every_byte() -> None:
    names = names_of(["card-1", "card-2", "card-1\x00", "x" * 64, "x" * 63 + "y"])
    _, hashes = SlotTable((1, 2)).find(names.text, names.ends)
    _, again = SlotTable((1, 2)).find(names.text, names.ends)
    _, other = SlotTable((1, 3)).find(names.text, names.ends)
    assert (hashes == again).all() and not (hashes == other).any()
    assert len({tuple(pair) for pair in hashes.tolist()}) == 5
    # about half of the bits differ between any two
    differing = [
        (int(a) ^ int(b)).bit_count() for a, b in zip(hashes[0].tolist(), hashes[1].tolist(), strict=True)
    ]
    assert 40 < sum(differing) < 88
