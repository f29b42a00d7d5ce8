"""Run in the drift stream's environment: real detectors on made windows; prints severities as JSON.

Usage: python drift_alibi_script.py (PYTHONPATH: the repository).
"""

from __future__ import annotations

import json

import numpy as np

from features.catalogue import INDEX, NAMES, WIDTH
from models.bundle.reference import Reference
from models.drift.statistics import Thresholds
from models.drift.window import Window
from streams.drift.comparable import Baseline
from streams.drift.detectors import alibi_detectors
from streams.drift.rounds import judge

WINDOWS, ROWS = 20, 1000


def matrix(
    rng: np.random.Generator, rows: int, *, hour: int | None = None, mature: bool = True
) -> np.ndarray:
    """Made traffic: what people do depends on the hour, as it does in life."""
    out = np.full((rows, WIDTH), np.nan, dtype=np.float32)
    hours = rng.integers(0, 24, rows) if hour is None else np.full(rows, hour)
    night = (hours < 6) | (hours > 22)
    channel = np.where(rng.random(rows) < np.where(night, 0.7, 0.35), 1, rng.choice([0, 0, 0, 2, 3], rows))
    out[:, INDEX["hour"]] = hours
    out[:, INDEX["weekend"]] = 0
    out[:, INDEX["currency_code"]] = rng.choice([1, 2, 3], rows, p=[0.8, 0.15, 0.05])
    out[:, INDEX["channel"]] = channel
    out[:, INDEX["mcc"]] = np.where(
        channel == 1, rng.choice([5311, 5816, 4722], rows), rng.choice([5411, 5812, 5541], rows)
    )
    out[:, INDEX["amount"]] = np.exp(rng.normal(np.where(channel == 1, 8.3, 7.6), 0.8, rows))
    out[:, INDEX["round_amount"]] = rng.random(rows) < 0.1
    out[:, INDEX["card_cross_border"]] = rng.random(rows) < 0.08
    out[:, INDEX["card_age_days"]] = rng.uniform(0, 60, rows) if mature else 0.001
    if mature:
        out[:, INDEX["card_amount_zscore_30d"]] = rng.normal(size=rows)
        out[:, INDEX["card_new_device"]] = rng.random(rows) < 0.05
    else:
        # a young state knows little, and what it says of amounts and devices is another thing
        out[rng.random(rows) < 0.5, INDEX["card_cross_border"]] = np.nan
        out[:, INDEX["card_amount_zscore_30d"]] = 3 * rng.normal(size=rows)
        out[:, INDEX["card_new_device"]] = 1.0
    return out


def main() -> None:
    rng = np.random.default_rng(20261122)
    scores = rng.beta(1, 30, 2000).astype(np.float32)
    reference = Reference(matrix(rng, 2000), scores, NAMES, (scores > 0.15).astype(np.int8))
    baseline, detectors = Baseline.of(reference), alibi_detectors()

    def found(window: np.ndarray, scores: np.ndarray) -> dict[str, str]:
        times, decided = np.arange(len(window)), np.arange(len(scores))
        looked = Window(
            window, times, times, scores.astype(np.float32), (scores > 0.15).astype(np.int8), decided, decided
        )
        return {one.name: one.severity for one in judge(looked, baseline, detectors, Thresholds())}

    out: dict[str, list[dict[str, str]]] = {"same": [], "night": [], "young": []}
    for _ in range(WINDOWS):
        out["same"].append(found(matrix(rng, ROWS), rng.beta(1, 30, ROWS)))
    for _ in range(5):
        out["night"].append(found(matrix(rng, ROWS, hour=3), rng.beta(1, 30, ROWS)))
        out["young"].append(found(matrix(rng, ROWS, mature=False), rng.beta(4, 10, ROWS)))
    amounts, channels, country, scores = (matrix(rng, ROWS) for _ in range(4))
    amounts[:, INDEX["amount"]] *= 2
    channels[rng.random(ROWS) < 0.7, INDEX["channel"]] = 1
    country[rng.random(ROWS) < 0.3, INDEX["card_cross_border"]] = 1
    out["amounts"] = [found(amounts, rng.beta(1, 30, ROWS))]
    out["channels"] = [found(channels, rng.beta(1, 30, ROWS))]
    out["country"] = [found(country, rng.beta(1, 30, ROWS))]
    out["scores"] = [found(scores, rng.beta(4, 10, ROWS))]
    # a field that a producer no longer fills, and nothing but unknown values
    empty = matrix(rng, ROWS)
    empty[:, INDEX["mcc"]] = np.nan
    out["empty"] = [found(empty, rng.beta(1, 30, ROWS))]
    out["unknown"] = [found(np.full((ROWS, WIDTH), np.nan, np.float32), np.zeros(0))]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
