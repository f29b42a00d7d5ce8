"""Comparison of feature vectors bit by bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def differing(served: npt.NDArray[np.float32], made: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Where two float32 arrays of one shape differ in any bit; two NaN are equal whatever their payload."""
    unlike = served.view(np.uint32) != made.view(np.uint32)
    return np.asarray(unlike & ~(np.isnan(served) & np.isnan(made)))
