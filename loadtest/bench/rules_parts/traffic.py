"""Conditions as analysts write them and a batch for them: numbers, texts, sets and ratios mixed, the same for all engines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, WIDTH

NUMBERS = (
    "amount", "card_count_1h", "card_count_24h", "card_sum_24h", "card_speed_kmh", "card_amount_ratio_mean_30d",
    "merchant_fraud_rate_7d", "device_cards_24h", "ip_cards_1h", "card_new_device",
)  # fmt: skip
TEXTS = {
    "country": ("FR", "DE", "NG", "US"),
    "currency": ("EUR", "USD", "GBP"),
    "device_id": ("d-1", "d-2", "d-3"),
}
TEMPLATES = (
    "{a} > {x} AND {t} <> '{v}'",
    "{a} >= {x} AND {b} > {y}",
    "{t} IN ('{v}', '{w}') AND amount_minor > {x}",
    "({a} > {x} OR {b} > {y}) AND score > 0.2",
    "{a} / {b} > 3 AND {t} = '{v}'",
)


@dataclass(frozen=True)
class Table:
    """n rows: ``scores`` and ``matrix`` as scoring has them, ``fields`` as lists of Python values."""

    scores: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]
    fields: dict[str, list[Any]]


def conditions(count: int, seed: int = 1) -> list[str]:
    """``count`` conditions; constants differ, fields repeat, as they do in a grown set of rules."""
    rng = random.Random(seed)
    out = []
    for number in range(count):
        a, b = rng.sample(NUMBERS, 2)
        text = rng.choice(list(TEXTS))
        v, w = rng.sample(TEXTS[text], 2)
        out.append(
            TEMPLATES[number % len(TEMPLATES)].format(
                a=a, b=b, x=rng.randint(1, 900) * 100, y=rng.randint(1, 90), t=text, v=v, w=w
            )
        )
    return out


def make_table(rows: int, seed: int = 1) -> Table:
    """A batch in which some values are unknown."""
    rng = np.random.default_rng(seed)
    matrix = np.full((rows, WIDTH), np.nan, np.float32)
    for name in NUMBERS:
        column = rng.gamma(0.5, 20_000, rows)
        column[rng.random(rows) < 0.05] = np.nan
        matrix[:, INDEX[name]] = column
    fields: dict[str, list[Any]] = {
        name: [None if rng.random() < 0.05 else str(rng.choice(values)) for _ in range(rows)]
        for name, values in TEXTS.items()
    }
    fields["amount_minor"] = rng.integers(1, 100_000, rows).tolist()
    return Table(rng.random(rows).astype(np.float32), matrix, fields)
