"""Prometheus and Alertmanager: their configuration, generated from a stack's settings, and their commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from infra.stack.ports import port_of
from infra.stack.secure.web_users import web_config
from infra.stack.tools import CHECKOUT
from streams.log.rights import RIGHTS
from streams.runtime.secured import OPERATOR, PROMETHEUS
from streams.runtime.settings import Settings

#: written by hand, and made by ``infra.oncall.slo``
RULES = tuple(CHECKOUT / "infra" / "prometheus" / name for name in ("rules.yml", "slo.yml"))
ALERTMANAGER_TEMPLATE = CHECKOUT / "infra" / "prometheus" / "alertmanager.yml"
SCRAPE_INTERVAL = "5s"
PROXY_INTERVAL = "15s"
#: processes of every local stack that serve metrics
SCRAPED = (
    "processor-0",
    "labels-0",
    "scoring-stream-0",
    "scoring-http-0",
    "scoring",
    "drift-0",
    "archive-0",
    "trainer-0",
    "rollout-0",
    "console",
    "oncall",
)


def scraped(settings: Settings) -> list[str]:
    """The processes of this stack that serve metrics."""
    more = {"processor": settings.processors, "scoring-stream": settings.stream_replicas}
    return [*SCRAPED, *(f"{name}-{i}" for name, count in more.items() for i in range(1, count))]


def prometheus_config(settings: Settings) -> dict[str, Any]:
    """Scrape every process, send alerts to the stack's Alertmanager."""
    return {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(path) for path in rules_files(settings)],
        "alerting": {"alertmanagers": [_alertmanager(settings)]},
        "scrape_configs": [
            {
                "job_name": "tollgate",
                # what oncall says of other processes keeps their names
                "honor_labels": True,
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{settings.metrics_port(name)}"],
                        "labels": {"process": name},
                    }
                    for name in scraped(settings)
                ],
            },
            {
                # the edge's proxy has some hundred series of its own, which explain and page nobody
                "job_name": "haproxy",
                "scrape_interval": PROXY_INTERVAL,
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{settings.metrics_port('haproxy')}"],
                        "labels": {"process": "haproxy"},
                    }
                ],
            },
        ],
    }


def _alertmanager(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {"static_configs": [{"targets": [_target(settings.alertmanager)]}]}
    if settings.secure:
        password = settings.secure_files.password(PROMETHEUS)
        found["basic_auth"] = {"username": PROMETHEUS, "password_file": str(password)}
    return found


def alertmanager_config(settings: Settings) -> str:
    """The Alertmanager file that a stack gets at its first start. From then on it is its owner's, and no start writes it again."""
    return ALERTMANAGER_TEMPLATE.read_text().replace("ONCALL", settings.oncall)


def prometheus_dir(settings: Settings) -> Path:
    return settings.root / "prometheus"


def alertmanager_dir(settings: Settings) -> Path:
    return settings.root / "alertmanager"


def rules_files(settings: Settings) -> list[Path]:
    """The alert rules with this stack's addresses."""
    return [prometheus_dir(settings) / path.name for path in RULES]


def alert_rules() -> list[dict[str, Any]]:
    """Every alert rule; one alert may have several, of different severity."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule]


def alertmanager_file(settings: Settings) -> Path:
    """The file that the stack's owner edits: receivers, grouping, mute times."""
    return settings.root / "alertmanager.yml"


def prepare(settings: Settings) -> None:
    """Write the configuration of both, but keep an Alertmanager file that is there.

    Raises:
        StackError: this system has no bcrypt, which a secured stack needs.
    """
    for folder in (prometheus_dir(settings), alertmanager_dir(settings)):
        folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_dump(prometheus_config(settings), sort_keys=False)
    (prometheus_dir(settings) / "prometheus.yml").write_text(config)
    # the runbooks as addresses that open: oncall serves them
    for template, file in zip(RULES, rules_files(settings), strict=True):
        text = re.sub(r"infra/runbooks/(\w+)\.md", rf"{settings.oncall}/runbooks/\1", template.read_text())
        file.write_text(text)
    if settings.secure:
        files = settings.secure_files
        # whoever has a name may ask for metrics; only who runs commands silences an alert
        _web_file(prometheus_dir(settings)).write_text(web_config(files, RIGHTS))
        _web_file(alertmanager_dir(settings)).write_text(web_config(files, (OPERATOR, "console", PROMETHEUS)))
    if not alertmanager_file(settings).exists():
        alertmanager_file(settings).write_text(alertmanager_config(settings))


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
        *([f"--web.config.file={_web_file(folder)}"] if settings.secure else []),
    ]


def alertmanager_command(settings: Settings, binary: Path) -> list[str]:
    folder = alertmanager_dir(settings)
    return [
        str(binary),
        f"--config.file={alertmanager_file(settings)}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port_of(settings.alertmanager)}",
        # a single instance needs no gossip port
        "--cluster.listen-address=",
        "--log.format=json",
        *([f"--web.config.file={_web_file(folder)}"] if settings.secure else []),
    ]


def _web_file(folder: Path) -> Path:
    return folder / "web.yml"


def _target(url: str) -> str:
    return url.removeprefix("http://")
