"""Vectors of one catalogue are laid out for another, by name and definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import CATALOGUE_HASH, NAMES
from features.vector_layouts import OWN, Layout, aligned_columns


def test_this_codes_layout_is_its_catalogue() -> None:
    assert (OWN.catalogue, OWN.names) == (CATALOGUE_HASH, NAMES)
    assert OWN.places_in(OWN).tolist() == list(range(len(NAMES)))
    assert OWN.misfit(OWN) == ""


def test_a_name_that_stands_twice_is_no_layout() -> None:
    with pytest.raises(ValueError, match="one definition for each name"):
        Layout("x", ("a", "a"), ("1", "1"))


words = st.sampled_from([f"f{n}" for n in range(12)])
entries = st.dictionaries(words, st.sampled_from(["one", "two"]), max_size=12)


@st.composite
def layouts(draw: st.DrawFn, catalogue: str) -> Layout:
    """Any names in any order, each with one of two definitions."""
    chosen = draw(st.permutations(list(draw(entries).items())))
    return Layout(catalogue, tuple(name for name, _ in chosen), tuple(what for _, what in chosen))


@given(layouts("mine"), layouts("theirs"), st.integers(0, 4), st.integers(0, 2**32))
def test_a_value_is_taken_over_where_name_and_definition_are_the_same(
    mine: Layout, theirs: Layout, rows: int, seed: int
) -> None:
    # any bits: also NaNs that carry something, infinities, both zeros
    bits = np.random.default_rng(seed).integers(0, 2**32, (rows, len(theirs.names)), dtype=np.uint32)
    vectors = bits.view(np.float32)
    if not theirs.names:
        return
    made = aligned_columns(vectors, mine.places_in(theirs))
    assert made.shape == (rows, len(mine.names)) and made.dtype == np.float32 and made.flags.c_contiguous
    given_by = dict(zip(theirs.names, theirs.definitions, strict=True))
    for column, (name, definition) in enumerate(zip(mine.names, mine.definitions, strict=True)):
        if given_by.get(name) == definition:
            source = bits[:, theirs.names.index(name)]
            assert (made[:, column].view(np.uint32) == source).all()
        else:
            assert np.isnan(made[:, column]).all()


@given(layouts("mine"), layouts("theirs"))
def test_a_misfit_names_what_lacks_and_what_changed(mine: Layout, theirs: Layout) -> None:
    places = mine.places_in(theirs)
    said = mine.misfit(theirs)
    assert (said == "") == bool((places >= 0).all())
    absent = [name for name in mine.names if name not in theirs.names]
    assert ("without" in said) == bool(absent)
    assert all(name in said for name in absent[:5])
    assert f" and {len(absent) - 5} more" in said or len(absent) <= 5
