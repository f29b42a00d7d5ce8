"""Rows with a known pattern of fraud, for the tests of models: quick to make, with unknown values in them."""

from __future__ import annotations

import numpy as np

from features.catalogue import INDEX, WIDTH
from models.training.dataset import DAY_MS, Dataset

START_MS = 1_760_000_000_000


def make_dataset(rows: int = 6_000, *, days: int = 20, seed: int = 3) -> Dataset:
    """Fraud grows with amount and velocity; a fifth of all values is unknown (amounts never are)."""
    rng = np.random.default_rng(seed)
    matrix = rng.gamma(2.0, 1.0, size=(rows, WIDTH)).astype(np.float32)
    amount = np.exp(rng.normal(8.0, 1.0, rows)).astype(np.float32)
    velocity = matrix[:, INDEX["card_count_1h"]].copy()
    logit = 2.0 * (np.log(amount) - 9.5) + 1.2 * (velocity - 4.0)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    matrix[:, INDEX["amount"]] = amount
    matrix[:, INDEX["card_count_1h"]] = velocity
    fraud = rng.random(rows) < 1 / (1 + np.exp(-logit))
    event_ms = START_MS + np.sort(rng.integers(0, days * DAY_MS, rows))
    cards = np.array([f"card-{number}" for number in rng.integers(0, rows // 10, rows)], dtype=object)
    return Dataset(matrix, fraud, event_ms, cards)
