"""Features of one payment beside the card's earlier payments, and beside the sample of all payments that the live model knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from models.bundle.reference import Reference


def beside(features: Mapping[str, float | None], reference: Reference, past: pa.Table) -> dict[str, Any]:
    """For each known feature: ``peers``, the share of the reference's known values that are lower (equal ones count half), and
    ``past``, the lowest, middle and highest of the card's earlier payments. None: nobody else has a value.

    Args:
        past: earlier payments, a column a feature by its name.
    """
    return {
        "peers": len(reference.matrix), "past": len(past),
        "features": {
            name: {"peers": _share_below(reference, name, value), "past": _spread(past, name)}
            for name, value in features.items()
            if value is not None
        },
    }  # fmt: skip


def _share_below(reference: Reference, name: str, value: float) -> float | None:
    if name not in reference.names:
        return None
    known = reference.matrix[:, reference.place(name)]
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    one = np.float32(value)
    return round(float(np.mean(known < one) + np.mean(known == one) / 2), 4)


def _spread(past: pa.Table, name: str) -> list[float] | None:
    if name not in past.column_names:
        return None
    values = past[name].to_numpy(zero_copy_only=False).astype(np.float64)
    values = values[~np.isnan(values)]
    return None if not len(values) else [float(np.quantile(values, share)) for share in (0.0, 0.5, 1.0)]
