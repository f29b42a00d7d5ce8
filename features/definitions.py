"""What an entry of the catalogue means, as a short hash, and how vectors of one catalogue are laid out for another.

Catalogues that follow each other share most entries, at other places. An entry is the same in both when name and definition
are; then its column can be taken over by name, and what one side does not know is unknown (NaN).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH, FEATURES, NAMES, Feature
from features.older_words import TODAY

Places = npt.NDArray[np.int64]

#: what may change without changing a value: words for people, and how much of a profile is read
_SAID_OR_SPENT = frozenset({"reason_code", "reason_text", "state_bytes"})


def definition_hash(feature: Feature) -> str:
    """8 hex digits over all that a value means; ``error`` too, since nothing else tells a changed approximation."""
    meaning = sorted((key, value) for key, value in asdict(feature).items() if key not in _SAID_OR_SPENT)
    return hashlib.sha256(repr(meaning).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Layout:
    """The columns of one catalogue's vectors, in order. An empty definition is not known, and the same as no other."""

    catalogue: str
    names: tuple[str, ...]
    definitions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(set(self.names)) == len(self.definitions):
            raise ValueError(f"the layout of {self.catalogue} does not say one definition for each name")

    def places_in(self, other: Layout) -> Places:
        """For each of these columns its place in ``other``; -1 where that has no such entry. int64 (len(names),)."""
        if self.catalogue == other.catalogue and self.names == other.names:
            return np.arange(len(self.names))
        there = {name: place for place, name in enumerate(other.names)}
        found = [there.get(name, -1) for name in self.names]
        same = [
            place >= 0 and definition != "" and _today(other.definitions[place]) == _today(definition)
            for place, definition in zip(found, self.definitions, strict=True)
        ]
        return np.where(same, found, -1).astype(np.int64)

    def misfit(self, other: Layout) -> str:
        """Which of these entries ``other`` lacks or defines otherwise, in words; empty when it has them all."""
        without = [self.names[column] for column in np.flatnonzero(self.places_in(other) < 0)]
        absent = [name for name in without if name not in other.names]
        changed = [name for name in without if name in other.names]
        parts = [
            f"{said} {_few(names)}"
            for said, names in (("without", absent), ("another definition of", changed))
            if names
        ]
        return "; ".join(parts)


OWN = Layout(CATALOGUE_HASH, NAMES, tuple(definition_hash(feature) for feature in FEATURES))


def _today(definition: str) -> str:
    """What is said today of the same values."""
    return TODAY.get(definition, definition)


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
