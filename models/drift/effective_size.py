"""How many independent rows a sample is worth. Payments of one card, or of one attack, are not independent.

A p-value that takes 2,000 dependent rows for 2,000 independent ones means little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: parts of equal size, by event time, that are compared with each other
BLOCKS = 10
#: expected rows per block and bin, below which bins are put together
_MIN_EXPECTED = 3.0

Ints = npt.NDArray[np.int64]


def effective_size(codes: Ints, event_ms: Ints, cards: Ints) -> int:
    """Of n rows: at most the number of equally active cards that would be as uneven, and at most n over the overdispersion in time.

    Args:
        codes: the bin of each row.
    """
    return int(min(by_card(cards), len(codes) / overdispersion(codes, event_ms))) if len(codes) else 0


def by_card(cards: Ints) -> float:
    """n^2 / sum of squared rows per card: Kish's effective size if all payments of a card were alike."""
    counts = np.unique(cards, return_counts=True)[1].astype(np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def overdispersion(codes: Ints, event_ms: Ints) -> float:
    """How much more the shares of the bins vary between blocks of time than those of independent rows would, at least 1.

    Pearson's chi-squared of blocks by bins over its degrees of freedom (McCullagh and Nelder, *Generalized Linear Models*, 4.5).
    """
    place = _common_bins(codes)
    bins = int(place.max()) + 1 if len(place) else 0
    if bins < 2:
        return 1.0
    observed = np.zeros((BLOCKS, bins))
    for block, rows in enumerate(np.array_split(np.argsort(event_ms, kind="stable"), BLOCKS)):
        observed[block] = np.bincount(place[rows], minlength=bins)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / len(codes)
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return max(1.0, statistic / ((BLOCKS - 1) * (bins - 1)))


def _common_bins(codes: Ints) -> Ints:
    """The same rows in fewer bins, numbered from 0: rare bins are one, which joins the rarest other one if it is rare itself."""
    found = np.unique(codes, return_inverse=True)[1]
    totals = np.bincount(found)
    order = np.argsort(-totals, kind="stable")
    common = int((totals >= _MIN_EXPECTED * BLOCKS).sum())
    rare = int(totals[order[common:]].sum())
    last = common if rare >= _MIN_EXPECTED * BLOCKS else max(0, common - 1)
    place = np.empty(len(totals), np.int64)
    place[order] = np.minimum(np.arange(len(totals)), last)
    return place[found]
