"""The figures of a window and of its reference that tell the cause of a drift (``models.drift.causes``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX
from models.bundle.reference import Reference
from models.drift.causes import Change, Signs
from models.drift.window import Window
from streams.drift.comparable import is_mature

#: a customer has one or two cards; a device with so many within a day serves strangers
CROWD = 5
#: of fewer payments a share says nothing
_MIN_ROWS = 200

Matrix = npt.NDArray[np.float32]


def signs_of(
    window: Window, reference: Reference, emptied: Collection[str], drifting: Collection[str]
) -> Signs:
    """The signs of a window that drifts.

    Args:
        emptied: fields that a producer leaves empty. drifting: columns with a confirmed drift.
    """
    both = reference.matrix, window.matrix
    # to a young state every device is new, and scores are not those of the reference
    mature = is_mature(*both)
    crowd, strange = _known(both, "device_cards_24h"), _known(both, "card_new_device")
    stopped = None
    if mature and reference.decisions is not None:
        # codes: 0 is approve
        stopped = _share(reference.decisions > 0, window.decisions > 0)
    return Signs(
        emptied=tuple(sorted(emptied)),
        drifting=frozenset(drifting),
        amount=_medians(*_known(both, "amount")),
        crowded=_share(*(values >= CROWD for values in crowd)),
        new_device=_share(*(values > 0 for values in strange)) if mature else None,
        stopped=stopped,
    )


def _known(both: tuple[Matrix, Matrix], name: str) -> list[Matrix]:
    """The known values of a column, before and now. A catalogue's columns stand first in every reference."""
    columns = [matrix[:, INDEX[name]] for matrix in both]
    return [column[~np.isnan(column)] for column in columns]


def _medians(before: Matrix, now: Matrix) -> Change | None:
    if min(len(before), len(now)) < _MIN_ROWS:
        return None
    return Change(float(np.median(before)), float(np.median(now)))


def _share(before: npt.NDArray[Any], now: npt.NDArray[Any]) -> Change | None:
    """Of rows that have a property."""
    if min(len(before), len(now)) < _MIN_ROWS:
        return None
    return Change(float(before.mean()), float(now.mean()))
