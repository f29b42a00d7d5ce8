"""A bundle's drift reference: a sample of the rows that the model was trained on, with scores and decisions, to compare live data with.

It uses only NumPy and no pickle, so that the environment of the drift process (NumPy 1.24) can read it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: 1,000 at any hour of the day with its neighbours, at night too; small enough to be part of every bundle
REFERENCE_ROWS = 5_000


@dataclass(frozen=True)
class Reference:
    """``matrix`` float32 (rows, width), ``scores`` float32 (rows,), ``names``: the matrix' columns.

    ``decisions``: int8 (rows,) codes that the bundle's policy gives by scores and features; None in bundles of 0.2.0.
    """

    matrix: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]
    decisions: npt.NDArray[np.int8] | None = None

    def place(self, name: str) -> int:
        """The column of a name. Raises: ValueError: there is none."""
        return self.names.index(name)


def sample_reference(
    matrix: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], names: tuple[str, ...], *, seed: int
) -> Reference:
    """At most ``REFERENCE_ROWS`` rows, drawn without replacement, in their original order."""
    rows = np.arange(len(matrix))
    if len(rows) > REFERENCE_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, REFERENCE_ROWS, replace=False))
    return Reference(matrix[rows].astype(np.float32), scores[rows].astype(np.float32), names)


def reference_bytes(reference: Reference) -> bytes:
    """The reference as an .npz file."""
    buffer = io.BytesIO()
    arrays: dict[str, npt.NDArray[Any]] = {
        "matrix": reference.matrix, "scores": reference.scores, "names": np.array(reference.names, dtype=np.str_),
    }  # fmt: skip
    if reference.decisions is not None:
        arrays["decisions"] = reference.decisions
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load_reference(source: Path | bytes) -> Reference:
    """Read ``reference.npz`` from a path or its bytes.

    Raises:
        ValueError: not such a file, or its arrays have unequal sizes.
    """
    stream = io.BytesIO(source if isinstance(source, bytes) else Path(source).read_bytes())
    with np.load(stream, allow_pickle=False) as data:
        matrix, scores = data["matrix"], data["scores"]
        names = tuple(str(name) for name in data["names"])
        decisions = data["decisions"].astype(np.int8) if "decisions" in data else None
    if decisions is not None and decisions.shape != scores.shape:
        raise ValueError(f"the reference has {len(decisions)} decisions for {len(scores)} scores")
    if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape != (len(scores), len(names)):
        raise ValueError(
            f"sizes of the reference's arrays differ: matrix {matrix.shape}, scores {scores.shape}, {len(names)} names"
        )
    return Reference(matrix, scores.astype(np.float32), names, decisions)
