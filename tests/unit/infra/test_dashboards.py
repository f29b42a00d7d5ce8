"""The dashboards: every query reads metrics that exist, Grafana's files hold every panel, and the terminal draws them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase

from infra.dashboards.definition import DASHBOARDS, Dashboard, Panel
from infra.dashboards.grafana import DATASOURCE, as_json, write
from infra.dashboards.series import Series, series_of
from infra.dashboards.terminal import drawn, shown
from infra.oncall.query import PrometheusUnavailable
from infra.stack import settings_for
from services.cli.operating.dashboards import dashboard
from streams.runtime import metrics

_NAME = re.compile(r"\b(?:tollgate|process)_[a-z_]+")
#: of every Python process: prometheus-client's own
_OF_PROCESSES = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
EVERY = [(each, panel) for each in DASHBOARDS for panel in each.panels]


def known_metrics() -> set[str]:
    every = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    found = {one.name for each in every for one in each.describe()}
    return found | {f"{name}{end}" for name in found for end in ("_total", "_bucket")} | _OF_PROCESSES


@pytest.mark.parametrize(("where", "panel"), EVERY, ids=[f"{d.name}: {p.title}" for d, p in EVERY])
def test_a_panel_reads_metrics_that_exist_and_names_its_curves(where: Dashboard, panel: Panel) -> None:
    for query in panel.queries:
        assert set(_NAME.findall(query.expr)) <= known_metrics(), query.expr
        # labels of the legend are those that the query keeps
        for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
            assert label in query.expr or "topk" in query.expr, (query.expr, label)
    assert len(panel.says) > 20 and panel.title


def test_names_are_unique_and_every_reader_has_a_dashboard() -> None:
    assert [each.name for each in DASHBOARDS] == [
        "overview",
        "oncall",
        "model",
        "drift",
        "rollout",
        "capacity",
    ]
    for each in DASHBOARDS:
        assert len({panel.title for panel in each.panels}) == len(each.panels)


def test_grafana_gets_every_panel_with_its_queries_and_its_datasource(tmp_path: Path) -> None:
    files = write(tmp_path, "http://127.0.0.1:9")
    assert len(files) == len(DASHBOARDS) + 2
    for each in DASHBOARDS:
        found = json.loads((tmp_path / "dashboards" / f"{each.name}.json").read_text())
        assert found == as_json(each) and found["uid"] == f"tollgate-{each.name}"
        assert [panel["title"] for panel in found["panels"]] == [panel.title for panel in each.panels]
        for drawn_panel, panel in zip(found["panels"], each.panels, strict=True):
            assert [target["expr"] for target in drawn_panel["targets"]] == [
                query.expr for query in panel.queries
            ]
            assert (
                drawn_panel["datasource"]["uid"] == DATASOURCE
                and drawn_panel["options"]["legend"]["showLegend"]
            )
        # no panel lies on another
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found["panels"]]
        assert len(set(places)) == len(places)
    source = yaml.safe_load((tmp_path / "provisioning/datasources/tollgate.yaml").read_text())
    assert (
        source["datasources"][0]["url"] == "http://127.0.0.1:9"
        and source["datasources"][0]["uid"] == DATASOURCE
    )


def test_the_terminal_shows_curves_their_newest_values_and_how_to_read_them() -> None:
    panel = DASHBOARDS[0].panels[0]
    times = [1_700_000_000.0 + 10 * i for i in range(60)]
    curves = [
        Series("approve", times, [900.0 + i for i in range(60)]),
        Series("decline", times, [None] * 59 + [0.0]),
    ]
    text = drawn(panel, curves, 100, False)
    assert "now: approve 959/s, decline 0/s" in text and panel.says in text
    assert max(map(len, text.splitlines()[:-2])) <= 100 and "\x1b" not in text
    assert "no data yet" in drawn(panel, [Series("approve", times, [None] * 60)], 100, False)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0312, "s", "31.2 ms"), (90.0, "s", "90 s"), (0.051, "share", "5.1%"), (2.5e9, "bytes", "2,500 MB"), (12345.6, "reqps", "12,346/s"), (0.25, "short", "0.25"), (None, "s", "-"), (float("nan"), "s", "-")],
)  # fmt: skip
def test_values_have_units(value: float | None, unit: str, text: str) -> None:
    assert shown(value, unit) == text  # type: ignore[arg-type]


def test_without_prometheus_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(PrometheusUnavailable, match=r"http://127\.0\.0\.1:1"):
        series_of("http://127.0.0.1:1", DASHBOARDS[0].panels[0], 0, 60, 1)
    settings_for(tmp_path, 20_000).save()
    listed = CliRunner().invoke(dashboard, ["--home", str(tmp_path)])
    assert listed.exit_code == 0 and "oncall" in listed.output
    exported = CliRunner().invoke(dashboard, ["--home", str(tmp_path), "--export", str(tmp_path / "grafana")])
    assert exported.exit_code == 0 and "GF_PATHS_PROVISIONING=" in exported.output
