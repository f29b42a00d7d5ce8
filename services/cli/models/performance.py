"""``tollgate performance``: how good the decisions were, on matured labels, with intervals."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from features.currencies import amount_text
from features.transaction import from_ms
from models.performance.drop import Drop, drops
from models.performance.figures import Performance
from models.performance.figures import performance as figures_of
from models.performance.ratio import Ratio
from services.cli.models.files import settings_of
from services.cli.terminal.exits import CheckFailed
from services.cli.terminal.options import home_option, json_option
from services.cli.terminal.tables import console, table
from services.cli.terminal.times import Length
from streams.archive.decided_rows import Past, decided_rows


@click.command()
@home_option
@json_option
@click.option(
    "--since", type=Length(), default="42d", show_default=True, metavar="42d|48h", help="How far back from the newest archived payment."
)  # fmt: skip
def performance(home: Path, as_json: bool, since: timedelta) -> None:
    """Show precision, recall, calibration, money, false alarms and review load of live decisions, by model version, tenant and channel.

    Only matured decisions count, with 95 % intervals; how many are still open is shown beside. Money is by currency.
    """
    settings = settings_of(home)
    past = decided_rows(settings.archive_dir, int(since.total_seconds() * 1000))
    if past is None:
        raise CheckFailed(
            f"nothing is archived in {settings.archive_dir} yet: transactions are archived seconds after their decision"
        )
    found, lost = figures_of(past.rows), drops(past.rows)
    answer = {
        "since": from_ms(past.since_ms).isoformat(), "until": from_ms(past.newest_ms).isoformat(), "days_left_out": past.left_out,
        "performance": msgspec.to_builtins(found), "drops": msgspec.to_builtins(lost),
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(answer))
    else:
        _show(past, found, lost)


def _show(past: Past, found: list[Performance], lost: list[Drop]) -> None:
    whole, out = found[0], console()
    shown = table(
        "by", "group", "decisions", "matured", "frauds", "precision", "recall", "observed / predicted", "false alarms per fraud",
        "reviews per 10,000",
    )  # fmt: skip
    for one in found:
        shown.add_row(
            one.kind.replace("_", " "), one.group, f"{sum(one.decisions.values()):,}", f"{one.matured:,}", f"{one.labels['fraud']:,}",
            _ratio(one.precision, 100, "%"), _ratio(one.recall, 100, "%"), _ratio(one.calibration), _ratio(one.false_alarms_per_fraud),
            _ratio(one.review_load, 10_000),
        )  # fmt: skip
    out.print(shown)
    money = table("currency", "fraud caught", "fraud lost", "share caught", "honest stopped")
    for total in whole.money:
        money.add_row(
            total.currency, amount_text(total.caught_minor, total.currency), amount_text(total.lost_minor, total.currency),
            _ratio(total.caught, 100, "%"), amount_text(total.honest_stopped_minor, total.currency),
        )  # fmt: skip
    out.print(money)
    coverage = "unknown" if whole.label_coverage is None else f"{whole.label_coverage:.1%}"
    lines = [
        f"{from_ms(past.since_ms).isoformat()} to {from_ms(past.newest_ms).isoformat()}: {whole.open:,} decisions are still open, the labels of {coverage} of the"
        f" matured ones were stated, {whole.labels['censored']:,} were declined and nobody knows"
    ]
    if past.left_out:
        lines.append(f"left out, because there are too many: {past.left_out[0]} to {past.left_out[-1]}")
    for drop in lost:
        if drop.down:
            lines.append(
                f"down: {drop.figure} is {drop.now:.1%} in the newest matured week, {drop.before:.1%} before ({drop.drop:.0%} less)"
            )
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


def _ratio(found: Ratio, scale: float = 1.0, unit: str = "") -> str:
    if found.estimate is None:
        return "-"
    text = f"{found.estimate * scale:.3g}{unit}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({found.low * scale:.3g} to {found.high * scale:.3g})"
