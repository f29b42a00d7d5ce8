"""Prometheus and Alertmanager: their configuration, generated from a stack's settings, and their commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from infra.stack.ports import port_of
from infra.stack.tools import CHECKOUT
from streams.runtime.settings import Settings

RULES = CHECKOUT / "infra" / "prometheus" / "rules.yml"
SCRAPE_INTERVAL = "5s"
#: processes of every local stack that serve metrics
SCRAPED = (
    "processor-0",
    "labels-0",
    "scoring-stream-0",
    "scoring-http-0",
    "drift-0",
    "archive-0",
    "trainer-0",
    "rollout-0",
)


def scraped(settings: Settings) -> list[str]:
    """The processes of this stack that serve metrics."""
    more = {"processor": settings.processors, "scoring-stream": settings.stream_replicas}
    return [*SCRAPED, *(f"{name}-{i}" for name, count in more.items() for i in range(1, count))]


def prometheus_config(settings: Settings) -> dict[str, Any]:
    """Scrape every process, send alerts to the stack's Alertmanager."""
    return {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(RULES)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [_target(settings.alertmanager)]}]}]},
        "scrape_configs": [
            {
                "job_name": "tollgate",
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{settings.metrics_port(name)}"],
                        "labels": {"process": name},
                    }
                    for name in scraped(settings)
                ],
            }
        ],
    }


def alertmanager_config(settings: Settings) -> dict[str, Any]:
    """Send all alerts to the on-call receiver, grouped by alert name, one second after the first."""
    return {
        "route": {
            "receiver": "oncall",
            "group_by": ["alertname"],
            "group_wait": "1s",
            "group_interval": "10s",
            "repeat_interval": "1h",
        },
        "receivers": [
            {
                "name": "oncall",
                "webhook_configs": [{"url": f"{settings.oncall}/alerts", "send_resolved": True}],
            }
        ],
    }


def prometheus_dir(settings: Settings) -> Path:
    return settings.root / "prometheus"


def alertmanager_dir(settings: Settings) -> Path:
    return settings.root / "alertmanager"


def prepare(settings: Settings) -> None:
    for folder, name, content in (
        (prometheus_dir(settings), "prometheus.yml", prometheus_config(settings)),
        (alertmanager_dir(settings), "alertmanager.yml", alertmanager_config(settings)),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))


def prometheus_command(settings: Settings, binary: Path) -> list[str]:
    folder = prometheus_dir(settings)
    return [
        str(binary),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=7d",
        f"--web.listen-address=127.0.0.1:{port_of(settings.prometheus)}",
        # otherwise an alert sent before Alertmanager is discovered is repeated only after a minute (Prometheus 2.42)
        "--rules.alert.resend-delay=2s",
        "--log.format=json",
    ]


def alertmanager_command(settings: Settings, binary: Path) -> list[str]:
    folder = alertmanager_dir(settings)
    return [
        str(binary),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port_of(settings.alertmanager)}",
        # a single instance needs no gossip port
        "--cluster.listen-address=",
        "--log.format=json",
    ]


def _target(url: str) -> str:
    return url.removeprefix("http://")
