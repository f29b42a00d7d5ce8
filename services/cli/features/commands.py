"""``tollgate features`` and ``tollgate parity``: the catalogue, an entity's profile, and whether what was served is so."""

from __future__ import annotations

import difflib
import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import click
from confluent_kafka import KafkaException

from features.catalogue import CATALOGUE_HASH, FEATURES, INDEX, NAMES
from features.store.redis_client import StoreUnavailable
from services.cli.features.archive_replay import replay_archive
from services.cli.features.profile import show
from services.cli.features.state_versions import drop_version, prepare
from services.cli.terminal.exits import Unreachable
from services.cli.terminal.options import FullHelpGroup, WholeNumber, home_option, json_option, reply
from services.cli.terminal.words import duration
from streams.audit.parity.sample import check_parity
from streams.runtime.settings import load_settings


@click.group(cls=FullHelpGroup)
def features() -> None:
    """Show an entity's features, or the catalogue."""


features.add_command(prepare)
features.add_command(drop_version)
features.add_command(replay_archive)
features.add_command(show)


@features.command()
@click.argument("name", required=False)
@home_option
@json_option
def catalogue(name: str | None, home: Path, as_json: bool) -> None:
    """List every feature, or show all facts of the one called NAME: entity, unit, window, default, error, lateness, bytes, reason."""
    if name is not None and name not in INDEX:
        near = difflib.get_close_matches(name, INDEX, n=3)
        raise click.UsageError(
            f"no feature is called {name}" + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    rows = [
        # JSON knows no NaN: an unknown default is null
        {**asdict(feature), "default": None if feature.default != feature.default else feature.default}
        for feature in FEATURES
        if name in (None, feature.name)
    ]
    if as_json:
        click.echo(json.dumps({"hash": CATALOGUE_HASH, "features": rows}))
        return
    if name is not None:
        for field, value in rows[0].items():
            text = _WITHOUT[field] if value is None else _plain(value)
            click.echo(textwrap.fill(text, 112, initial_indent=f"{field:<19}", subsequent_indent=" " * 19))
        return
    errors: dict[str, int] = {}
    click.echo(f"{len(rows)} features, catalogue {CATALOGUE_HASH}\n")
    click.echo(f"{'name':<32} {'entity':<12} {'window':>7}  {'unit':<47} exact, or its error (below)")
    for feature in FEATURES:
        exact = "exact" if feature.exact else f"[{errors.setdefault(feature.error, len(errors) + 1)}]"
        click.echo(
            f"{feature.name:<32} {feature.entity:<12} {_window(feature.window_s):>7}  {feature.unit:<47} {exact}"
        )
    click.echo()
    for error, number in errors.items():
        click.echo(textwrap.fill(error, 112, initial_indent=f"{f'[{number}]':<5}", subsequent_indent="     "))
    click.echo(
        "\n`tollgate features catalogue NAME` shows all of one feature: default, bytes, late payments, reason text."
    )


#: what it means that a field has no value
_WITHOUT = {"default": "unknown", "look_back_s": "without limit", "known_late_s": "however late a payment is"}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) or "-") if isinstance(value, tuple) else str(value)


def _window(seconds: int) -> str:
    for unit, width in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds and seconds % width == 0:
            return f"{seconds // width} {unit}"
    return "-"


@features.command()
@home_option
@json_option
@click.option(
    "--clear", is_flag=True, help="Delete every stored profile first, including what the log no longer holds."
)
def rebuild(home: Path, as_json: bool, clear: bool) -> None:
    """Rebuild the state in Redis from the log. Until it is done, decisions are made without it and marked degraded."""
    from streams.state.rebuild_log import rebuild as make_again  # kernels and Kafka are slow to import

    try:
        done = make_again(
            load_settings(home), say=lambda text: click.echo(f"{text} ...", err=True), clear=clear
        )
    except (StoreUnavailable, TimeoutError, KafkaException) as error:
        raise Unreachable(
            f"{error}: decisions are made without state, and degraded, until a rebuild is complete (`tollgate status`)"
        ) from error
    reply(
        asdict(done), as_json,
        f"rebuilt the state of {done.entities:,} entities from {done.transactions:,} records on `transactions` and {done.items:,} on"
        f" `entities` in {done.seconds:.1f} s ({done.transactions / max(done.seconds, 1e-9):,.0f} transactions a second)",
    )  # fmt: skip


@features.command()
@home_option
@json_option
def late(home: Path, as_json: bool) -> None:
    """Count late transactions, and the decisions that would have been others had every transaction come in time."""
    from streams.audit.lateness_log import report_lateness  # the scorer's libraries are slow to import

    found = report_lateness(load_settings(home), say=lambda text: click.echo(f"{text} ...", err=True))
    if as_json:
        click.echo(json.dumps(found))
        return
    by = found["late_by_s"]
    click.echo(
        f"{found['late']:,} of {found['transactions']:,} transactions were late: one of the same card with a later event time came"
        " first."
    )
    click.echo(f"{found['beyond_bound']:,} of them were late by more than {found['bound_s'] // 3600} h.")
    if found["late"]:
        click.echo(
            f"Late by: median {duration(by['p50'])}, 99th percentile {duration(by['p99'])}, maximum {duration(by['max'])}."
        )
        click.echo(
            f"Scored again as if no transaction had been late: {found['decisions_compared']:,} decisions on the cards concerned"
            f" (model {found['model_version']}). Features differ in {found['features_changed']:,} of them, the decision itself in"
            f" {found['decisions_changed']:,}."
        )
    if found["records_left_out"]:
        click.echo(
            f"Only the first {found['records_at_most']:,} transactions of these cards were scored again;"
            f" {found['records_left_out']:,} more were left out."
        )


@click.command()
@home_option
@json_option
@click.option("--sample", type=WholeNumber(min=1, max=100_000), default=1000, show_default=True, metavar="N")
@click.option("--seed", type=int, metavar="K", help="Draw the same sample again.")
def parity(home: Path, as_json: bool, sample: int, seed: int | None) -> int:
    """Recompute served features from the log and compare bits. Exit code 1 when a difference is unexplained."""
    settings = load_settings(home)
    verdict = check_parity(settings, sample, seed=seed, say=lambda text: click.echo(f"{text} ...", err=True))
    for partition, offset, columns in verdict.differing[:20]:
        names = ", ".join(NAMES[column] for column in columns)
        click.echo(f"transactions[{partition}] offset {offset} differs in {names}", err=True)
    summary = {name: getattr(verdict, name) for name in ("compared", "identical", "explained", "unexplained")}
    reply(summary, as_json, "  ".join(f"{name} {value}" for name, value in summary.items()))
    return 1 if verdict.unexplained else 0
