"""The points of a model's plots: precision against recall, and frauds observed against frauds predicted."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

POINTS = 120
BINS = 10


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """One bin of scores: mean score, share of frauds with its 95 % interval, rows."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """``recall`` and ``precision`` (at most ``POINTS`` each, recall ascending), ``reliability`` by score ascending."""

    recall: list[float]
    precision: list[float]
    reliability: list[Bin]


def curves(fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> Curves:
    """Of labels (n,) and scores (n,); empty without frauds."""
    positives = int(fraud.sum())
    if not positives:
        return Curves(recall=[], precision=[], reliability=[])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(fraud[order])
    # one point for each step in recall: between two, precision only falls
    firsts = np.flatnonzero(fraud[order])
    some = firsts[np.unique(np.linspace(0, len(firsts) - 1, min(POINTS, len(firsts))).astype(int))]
    return Curves(
        recall=(hits[some] / positives).tolist(), precision=(hits[some] / (some + 1)).tolist(),
        reliability=_reliability(fraud, scores),
    )  # fmt: skip


def wilson(hits: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson 1927); (0, 1) for n of 0."""
    if n <= 0:
        return 0.0, 1.0
    share = hits / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _reliability(fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> list[Bin]:
    """Bins on a logarithmic scale of scores: nearly all payments score below 1 %."""
    edges = np.concatenate([[-np.inf], np.logspace(-3, 0, BINS)[:-1], [np.inf]])
    out = []
    for low, high in pairwise(edges):
        inside = (scores >= low) & (scores < high)
        n, hits = int(inside.sum()), int(fraud[inside].sum())
        if n:
            bounds = wilson(hits, n)
            mean = float(scores[inside].astype(np.float64).mean())
            out.append(Bin(predicted=mean, observed=hits / n, low=bounds[0], high=bounds[1], n=n))
    return out
