"""Terms that many rules share, computed once per batch: comparisons of features with numbers, texts looked up in sets.

A NumPy call costs about 1 us even for few rows, so a hundred comparisons of features are made in one call on a block. A text
is looked up once per row, in one dictionary whose values say by bits which sets hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.policy.rules.columns import Batch, FieldUnknown, Mask

Match = Callable[[Batch], Mask]
#: sets per 64-bit word; one more bit marks a missing text, and the sign bit is not used
SETS_A_WORD = 62
_ABSENT = 1 << SETS_A_WORD


class FeatureComparisons:
    """All comparisons ``feature op number`` of a policy that use one NumPy function, e.g. ``np.greater``.

    They use single precision, in which features are stored, so a feature equals the number shown for it. NaN compares false.
    """

    def __init__(self, compare: Any) -> None:
        self._compare = compare
        self._features: list[int] = []
        self._numbers: list[float] = []
        self._arrays: tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]] | None = None

    def add(self, feature: int, number: float) -> Match:
        """Add a comparison; returns the function that gives the rows where it is true."""
        place = len(self._features)
        self._features.append(feature)
        self._numbers.append(number)
        self._arrays = None
        return lambda batch: self._block(batch)[place]  # type: ignore[no-any-return]

    def _block(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """All comparisons, bool (comparisons, n)."""
        found = batch.memo.get(self)
        if found is None:
            if batch.matrix is None:
                raise FieldUnknown("features")
            if self._arrays is None:
                self._arrays = np.array(self._features, np.intp), np.array(self._numbers, np.float32)
            features, numbers = self._arrays
            block = self._compare(batch.matrix.take(features, axis=1), numbers)
            found = batch.memo[self] = np.ascontiguousarray(block.T)
        return found  # type: ignore[no-any-return]


class _Bits(dict[Any, int]):
    """The bits of a text; 0 for a text in no set."""

    def __missing__(self, key: Any) -> int:
        return 0


class TextSets:
    """All sets in which one text field is looked up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._words: list[_Bits] = []
        self._sets = 0

    def add(self, wanted: frozenset[str], negated: bool) -> Match:
        """Add a set; the function returned gives rows whose text is in it, or with ``negated`` is known and not in it."""
        word, place = divmod(self._sets, SETS_A_WORD)
        self._sets += 1
        if word == len(self._words):
            self._words.append(_Bits({None: _ABSENT}))
        bit = 1 << place
        for text in wanted:
            self._words[word][text] |= bit
        if negated:
            return lambda batch: (self._bits(batch, word) & (bit | _ABSENT)) == 0  # type: ignore[no-any-return]
        return lambda batch: (self._bits(batch, word) & bit) != 0  # type: ignore[no-any-return]

    def _bits(self, batch: Batch, word: int) -> npt.NDArray[np.int64]:
        key = (self, word)
        found = batch.memo.get(key)
        if found is None:
            look_up = self._words[word].__getitem__
            found = np.fromiter(map(look_up, batch.text(self._name)), np.int64, batch.rows)
            batch.memo[key] = found
        return found  # type: ignore[no-any-return]
