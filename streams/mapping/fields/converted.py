"""What a conversion of one column gives: values, and the rows that have a problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """Some rows of a batch and what is said of them."""

    text: str
    rows: Mask


@dataclass(frozen=True)
class Converted:
    """``values``: the field, null where absent or unfit. ``problems``: why rows are unfit. ``notes``: what a person should
    know of rows that fit. ``skip``: rows that are no payments, such as refunds that the mapping leaves out."""

    values: pa.Array
    problems: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    skip: Mask | None = None

    @property
    def unfit(self) -> Mask:
        """Rows with a problem, shape (n,)."""
        out = np.zeros(len(self.values), dtype=bool)
        for problem in self.problems:
            out |= problem.rows
        return out


def bools(mask: pa.Array) -> Mask:
    """A Boolean column as an array; null is False."""
    out: Mask = np.array(mask.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
    return out


def findings(*pairs: tuple[str, Mask]) -> tuple[Finding, ...]:
    """The findings that hold for at least one row."""
    return tuple(Finding(text, rows) for text, rows in pairs if rows.any())
