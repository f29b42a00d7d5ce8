"""``tollgate dashboard``: the dashboards in the terminal, and as files for Grafana."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import click

from infra.dashboards.definition import DASHBOARDS, Dashboard, named
from infra.dashboards.series import series_of
from services.cli.operating.pages import LONGEST
from services.cli.terminal.options import home_option, json_option
from services.cli.terminal.times import Length
from streams.runtime.settings import Settings, load_settings

#: points of a curve: more than a terminal can show
_POINTS = 120
_WIDTH, _REFRESH_S = 100, 5.0


@click.command()
@click.argument("name", type=click.Choice([dashboard.name for dashboard in DASHBOARDS]), required=False)
@click.option("--since", type=Length(LONGEST), default=timedelta(minutes=15), metavar="15m", help="How far back: 15m, 2h, 1d.  [default: 15m]")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Draw again every 5 s, until Ctrl-C.")
@click.option("--export", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Write all dashboards and their datasource as files for Grafana.")  # fmt: skip
@home_option
@json_option
def dashboard(
    home: Path, as_json: bool, name: str | None, since: timedelta, follow: bool, export: Path | None
) -> None:
    """Draw the dashboard NAME here; without NAME, list them. The same definitions go to Grafana with --export DIR."""
    if export is not None:
        from infra.dashboards.grafana import write  # its SDK is slow to import

        written = write(export, load_settings(home).prometheus)
        click.echo(
            f"{len(written)} files in {export}: start Grafana with GF_PATHS_PROVISIONING={export.resolve() / 'provisioning'}"
        )
        return
    if name is None:
        for one in DASHBOARDS:
            click.echo(f"{one.name:<10} {one.title}: {', '.join(panel.title for panel in one.panels)}")
        return
    settings, chosen = load_settings(home), named(name)
    if as_json:
        click.echo(json.dumps(_data(settings, chosen, since)))
        return
    while True:
        text = _drawn(settings, chosen, since)
        click.echo(("\x1b[2J\x1b[H" if follow and sys.stdout.isatty() else "") + text)
        if not follow:
            return
        time.sleep(_REFRESH_S)


def _window(since: timedelta) -> tuple[float, float, float]:
    step_s = max(1.0, round(since.total_seconds() / _POINTS))
    end_s = time.time() // step_s * step_s
    return end_s - since.total_seconds() // step_s * step_s, end_s, step_s


def _data(settings: Settings, chosen: Dashboard, since: timedelta) -> dict[str, object]:
    start_s, end_s, step_s = _window(since)
    panels = [
        {
            "title": panel.title, "unit": panel.unit,
            "series": [{"name": one.name, "times": one.times, "values": one.values} for one in series_of(settings.prometheus, panel, start_s, end_s, step_s)],
        }
        for panel in chosen.panels
    ]  # fmt: skip
    return {"name": chosen.name, "title": chosen.title, "panels": panels}


def _drawn(settings: Settings, chosen: Dashboard, since: timedelta) -> str:
    from infra.dashboards.terminal import drawn

    window = _window(since)
    width = shutil.get_terminal_size((_WIDTH, 40)).columns if sys.stdout.isatty() else _WIDTH
    parts = [
        drawn(panel, series_of(settings.prometheus, panel, *window), width, sys.stdout.isatty())
        for panel in chosen.panels
    ]
    return f"{chosen.title}\n\n" + "\n".join(parts)
