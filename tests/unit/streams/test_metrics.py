"""Counting many values at once says what counting each says."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry, Histogram

from streams.runtime.metrics import LATENCY_BUCKETS, observe_many


def test_many_observations_are_the_sum_of_each() -> None:
    chance = random.Random(5)
    values = [chance.choice([chance.uniform(0, 3), *LATENCY_BUCKETS, 0.0, 1e9]) for _ in range(500)]
    registry = CollectorRegistry()
    one, many = (
        Histogram(name, "test", buckets=LATENCY_BUCKETS, registry=registry) for name in ("one", "many")
    )
    for value in values:
        one.observe(value)
    observe_many(many, values[:200])
    observe_many(many, [])
    observe_many(many, values[200:])
    found = [
        [
            (sample.labels, round(sample.value, 6))
            for sample in next(iter(h.collect())).samples
            if "created" not in sample.name
        ]
        for h in (one, many)
    ]
    assert found[0] == found[1]
