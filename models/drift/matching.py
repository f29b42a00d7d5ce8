"""Reference rows of the window's time of day and kind of day. A window covers minutes or hours, the reference weeks.

Otherwise the usual shopping at four in the morning, or on a Sunday, would look like drift.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
#: hours on either side that may be added
MAX_REACH = 3


def same_times(
    reference_hours: Floats, reference_weekend: Floats, window_hours: Floats, window_weekend: Floats, wanted: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Row numbers of the reference, ``wanted`` if possible, drawn with the window's mix of hours, on weekdays and at weekends.

    Hours are widened by up to ``MAX_REACH`` on either side until the reference has enough rows, first within the kind of day, then
    without it. If that gives less than a quarter of ``wanted``, all rows of the reference are returned.

    Args:
        reference_hours, window_hours: hour of the day; NaN where unknown.
        reference_weekend, window_weekend: 1 at weekends.
    """
    everything = np.arange(len(reference_hours))
    known = ~np.isnan(window_hours)
    if not known.any() or np.isnan(reference_hours).all():
        return everything
    best: npt.NDArray[np.int64] = everything
    most = 0
    for by_day in (True, False):
        cells = _cells(window_hours, window_weekend, by_day)[known]
        share = np.bincount(cells, minlength=48) / len(cells)
        places = np.where(np.isnan(reference_hours), 48, _cells(reference_hours, reference_weekend, by_day))
        have = np.bincount(places, minlength=49)
        for reach in range(MAX_REACH + 1):
            weight = (np.append(_wide(share, reach), 0.0) / np.maximum(1, have))[places]
            usable = int((weight > 0).sum())
            if usable > most:
                size = min(wanted, usable)
                best, most = rng.choice(everything, size=size, replace=False, p=weight / weight.sum()), usable
            if usable >= wanted:
                return best
    return best if most >= wanted / 4 else everything


def _cells(hours: Floats, weekend: Floats, by_day: bool) -> npt.NDArray[np.int64]:
    """0 to 23 by hour; 24 more at weekends."""
    cells = np.nan_to_num(hours).astype(np.int64) % 24
    return cells + 24 * (np.nan_to_num(weekend) > 0) if by_day else cells


def _wide(share: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    days = share.reshape(2, 24)
    wide: npt.NDArray[np.float64] = np.mean(
        [np.roll(days, shift, axis=1) for shift in range(-reach, reach + 1)], axis=0
    )
    return wide.reshape(-1)
