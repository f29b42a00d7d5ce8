"""The drift reference of a bundle: rows and scores the model was trained on, for the tests that watch it live.

NumPy only and free of pickle, so that the drift stream's own environment (NumPy 1.24) reads it too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: enough for a Kolmogorov-Smirnov test to see shifts of 0.05, small enough to travel in every bundle
REFERENCE_ROWS = 2_000


@dataclass(frozen=True)
class Reference:
    """``matrix`` float32 (rows, WIDTH) in catalogue order, ``scores`` float32 (rows,), ``names`` the columns."""

    matrix: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]


def sample_reference(
    matrix: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], names: tuple[str, ...], *, seed: int
) -> Reference:
    """At most ``REFERENCE_ROWS`` rows drawn without replacement, in their order."""
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
        ValueError: it is not such a file, or its arrays do not fit each other.
    """
    stream = io.BytesIO(source if isinstance(source, bytes) else Path(source).read_bytes())
    with np.load(stream, allow_pickle=False) as data:
        matrix, scores = data["matrix"], data["scores"]
        names = tuple(str(name) for name in data["names"])
    if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape != (len(scores), len(names)):
        raise ValueError(
            f"reference arrays do not fit: matrix {matrix.shape}, scores {scores.shape}, {len(names)} names"
        )
    return Reference(matrix, scores.astype(np.float32), names)
