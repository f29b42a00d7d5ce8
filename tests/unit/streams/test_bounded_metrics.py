"""Nobody makes more series of a metric than it is meant to have."""

from __future__ import annotations

import ast
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

import streams.runtime.metrics as metrics
from infra.stack.tools import CHECKOUT
from streams.runtime.bounded_metrics import MAX_SERIES, Counter, Gauge, Histogram, TenantCounter

#: cards, tenants or reasons that somebody makes up
INVENTED = 100_000


def test_invented_values_are_counted_together() -> None:
    registry = CollectorRegistry()
    counter = TenantCounter("tried", "what", ["tenant"], registry=registry)
    for number in range(INVENTED):
        counter.labels(f"tenant-{number}").inc()
    counter.labels("tenant-0").inc()
    lines = [
        line for line in generate_latest(registry).decode().splitlines() if line.startswith("tried_total")
    ]
    assert len(lines) == TenantCounter.max_series + 1
    assert 'tried_total{tenant="tenant-0"} 2.0' in lines
    assert f'tried_total{{tenant="other"}} {INVENTED - TenantCounter.max_series:.1f}' in lines


def test_every_kind_of_metric_is_bounded() -> None:
    for number, kind in enumerate((Counter, Gauge, Histogram)):
        metric = kind(f"kind_{number}", "what", ["one", "two"], registry=CollectorRegistry())
        children = {id(metric.labels(i, "x")) for i in range(INVENTED)}
        assert len(children) == MAX_SERIES + 1


def test_every_metric_of_the_product_is_one_of_these() -> None:
    plain = (
        prometheus_client.Counter,
        prometheus_client.Gauge,
        prometheus_client.Histogram,
        prometheus_client.Summary,
    )
    bounded = (Counter, Gauge, Histogram)
    found = [value for value in vars(metrics).values() if isinstance(value, plain)]
    assert len(found) > 20 and all(isinstance(value, bounded) for value in found)
    # and nobody makes one elsewhere
    makers = {"Counter", "Gauge", "Histogram", "Summary"}
    for path in (
        p
        for folder in ("features", "models", "streams", "services", "infra")
        for p in (CHECKOUT / folder).rglob("*.py")
    ):
        imported = _imported_from_prometheus(path)
        assert path.name == "bounded_metrics.py" or not _made(path, makers & imported), path


def _imported_from_prometheus(path: Path) -> set[str]:
    return {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
    }


def _made(path: Path, names: set[str]) -> list[str]:
    return [
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
