"""Converts feature vectors of one catalogue to the column order of another.

Two versions of the catalogue share most entries, in other columns. An entry is the same in both when its name and definition
(``Feature.definition``) are equal; then its column is copied. A column that the source lacks becomes NaN (unknown).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX
from features.catalogue import CATALOGUE_HASH, FEATURES, NAMES

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """The columns of one catalogue's vectors, in order, each with its definition."""

    catalogue: str
    names: tuple[str, ...]
    definitions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(set(self.names)) == len(self.definitions):
            raise ValueError(f"the layout of {self.catalogue} needs exactly one definition for each name")

    @property
    def features(self) -> Layout:
        """The same without attributes of one's own (``features.attributes``), which are no entries of a catalogue."""
        own = [place for place, name in enumerate(self.names) if not name.startswith(PREFIX)]
        if len(own) == len(self.names):
            return self
        return Layout(
            self.catalogue,
            tuple(self.names[place] for place in own),
            tuple(self.definitions[place] for place in own),
        )

    def places_in(self, other: Layout) -> Places:
        """For each of these columns its index in ``other``, or -1 where ``other`` has no such entry. int64 (len(names),)."""
        there = {entry: place for place, entry in enumerate(zip(other.names, other.definitions, strict=True))}
        own = zip(self.names, self.definitions, strict=True)
        return np.array([there.get(entry, -1) for entry in own], dtype=np.int64)

    def misfit(self, other: Layout) -> str:
        """The entries that ``other`` lacks or defines differently, in words; empty when it has them all."""
        without = [self.names[column] for column in np.flatnonzero(self.places_in(other) < 0)]
        absent = [name for name in without if name not in other.names]
        changed = [name for name in without if name in other.names]
        parts = [
            f"{said} {_few(names)}"
            for said, names in (("without", absent), ("another definition of", changed))
            if names
        ]
        return "; ".join(parts)


OWN = Layout(CATALOGUE_HASH, NAMES, tuple(feature.definition for feature in FEATURES))


def aligned_columns(vectors: npt.NDArray[np.float32], places: Places) -> npt.NDArray[np.float32]:
    """Columns ``places`` of vectors float32 (n, width), as float32 (n, len(places)) in C order; NaN where a place is -1.

    Values keep their bits.
    """
    out = np.take(vectors, np.maximum(places, 0), axis=1)
    out[:, places < 0] = np.nan
    return out


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
