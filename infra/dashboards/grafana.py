"""The dashboards as Grafana takes them, and the files that provision them with their datasource."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

from infra.dashboards.definition import DASHBOARDS, Dashboard, Panel

DATASOURCE = "tollgate-prometheus"
_UNITS = {"s": "s", "share": "percentunit", "reqps": "reqps", "bytes": "bytes", "short": "short"}
#: Grafana's grid is 24 wide
_WIDTH, _HEIGHT = 12, 8


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard in Grafana's JSON model."""
    built = (
        dashboards.Dashboard(f"Tollgate: {dashboard.title}")
        .uid(f"tollgate-{dashboard.name}")
        .tags(["tollgate"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
    )
    for number, panel in enumerate(dashboard.panels):
        built = built.with_panel(_panel(panel, number))
    found: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    return found


def _panel(panel: Panel, number: int) -> timeseries.Panel:
    source = DataSourceRef(type_val="prometheus", uid=DATASOURCE)
    built = (
        timeseries.Panel()
        .id(number + 1)
        .title(panel.title)
        .description(panel.says)
        .unit(_UNITS[panel.unit])
        .min(0)
        .datasource(source)
        .grid_pos(GridPos(x=number % 2 * _WIDTH, y=number // 2 * _HEIGHT, w=_WIDTH, h=_HEIGHT))
        .fill_opacity(25 if panel.stacked else 0)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
    )
    if panel.stacked:
        built = built.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for index, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))
        )
        built = built.with_target(target)
    return built


def write(folder: Path, prometheus_url: str) -> list[Path]:
    """Write Grafana's provisioning into a folder: ``provisioning/`` and ``dashboards/``; returns the files.

    Grafana finds them when it is started with ``GF_PATHS_PROVISIONING=<folder>/provisioning``.
    """
    datasource = {
        "apiVersion": 1,
        "datasources": [
            {"name": "Tollgate", "uid": DATASOURCE, "type": "prometheus", "access": "proxy", "url": prometheus_url, "isDefault": True}
        ],
    }  # fmt: skip
    provider = {
        "apiVersion": 1,
        "providers": [
            {"name": "tollgate", "type": "file", "allowUiUpdates": False, "options": {"path": str((folder / "dashboards").resolve())}}
        ],
    }  # fmt: skip
    texts = {
        folder / "provisioning" / "datasources" / "tollgate.yaml": yaml.safe_dump(datasource, sort_keys=False),
        folder / "provisioning" / "dashboards" / "tollgate.yaml": yaml.safe_dump(provider, sort_keys=False),
        **{
            folder / "dashboards" / f"{dashboard.name}.json": json.dumps(as_json(dashboard), indent=2) + "\n"
            for dashboard in DASHBOARDS
        },
    }  # fmt: skip
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)
