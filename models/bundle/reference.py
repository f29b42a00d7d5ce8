"""A bundle's drift reference: a sample of the rows that the model was trained on, with its scores, to compare live data with.

It uses only NumPy and no pickle, so that the environment of the drift process (NumPy 1.24) can read it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: enough for a Kolmogorov-Smirnov test to see shifts of 0.05, and small enough to be part of every bundle
REFERENCE_ROWS = 2_000


@dataclass(frozen=True)
class Reference:
    """``matrix`` float32 (rows, width), ``scores`` float32 (rows,), ``names``: the matrix' columns."""

    matrix: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]


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
    np.savez_compressed(
        buffer,
        matrix=reference.matrix,
        scores=reference.scores,
        names=np.array(reference.names, dtype=np.str_),
    )
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
    if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape != (len(scores), len(names)):
        raise ValueError(
            f"sizes of the reference's arrays differ: matrix {matrix.shape}, scores {scores.shape}, {len(names)} names"
        )
    return Reference(matrix, scores.astype(np.float32), names)
