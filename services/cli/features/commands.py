"""``tollgate features`` and ``tollgate parity``: the catalogue, an entity's profile, and whether what was served is so."""

from __future__ import annotations

import difflib
import json
import textwrap
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from confluent_kafka import KafkaException

from features.catalogue import CATALOGUE_HASH, FEATURES, INDEX, NAMES
from features.describe import describe_payer, describe_shared_entity, instant, last_event_ms
from features.identifiers import canonical_id, canonical_ip
from features.profile.codec import read_profiles
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.store.keys import key
from features.store.redis_client import RespClient, StoreUnavailable
from features.store.views import FRAUDS_OF, JOIN_KEYS, PAYMENTS_OF
from features.transaction import epoch_ms
from services.cli.features.archive_replay import replay_archive
from services.cli.features.state_versions import drop_version, prepare
from services.cli.terminal.exits import Unreachable
from services.cli.terminal.options import FullHelpGroup, WholeNumber, home_option, json_option
from services.cli.terminal.words import duration
from streams.audit.parity.sample import check_parity
from streams.runtime.settings import Settings, load_settings

STORE_WITHIN_S = 5.0


class NotFound(click.ClickException):
    """Nothing is known of the entity."""

    exit_code = 1


@click.group(cls=FullHelpGroup)
def features() -> None:
    """Show an entity's features, or the catalogue."""


features.add_command(prepare)
features.add_command(drop_version)
features.add_command(replay_archive)


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
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(
        f"rebuilt the state of {done.entities:,} entities from {done.transactions:,} records on `transactions` and {done.items:,} on"
        f" `entities` in {done.seconds:.1f} s ({done.transactions / max(done.seconds, 1e-9):,.0f} transactions a second)"
    )


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


@features.command()
@home_option
@json_option
@click.argument("entity", type=click.Choice(list(JOIN_KEYS)))
@click.argument("entity_id", metavar="ID")
@click.option(
    "--at", metavar="TIME", help="Show windows as of this moment (RFC 3339); default: the last event."
)
def show(home: Path, as_json: bool, entity: str, entity_id: str, at: str | None) -> None:
    """Show what is stored about one card, merchant, device, ip or customer."""
    at_ms = _moment_ms(at) if at else None
    settings = load_settings(home)
    profile = read_profile(settings, entity, _canonical(entity, entity_id), at_ms)
    if as_json:
        click.echo(json.dumps(profile))
    else:
        click.echo("\n".join(_lines(profile)))


def _canonical(entity: str, entity_id: str) -> str:
    """An entity's id as its profile is stored under."""
    try:
        return canonical_ip(entity_id) if entity == "ip" else canonical_id(entity_id)
    except ValueError as error:
        raise click.BadParameter(f"{entity_id!r} {error}", param_hint="ID") from None


def read_profile(settings: Settings, entity: str, entity_id: str, at_ms: int | None) -> dict[str, Any]:
    """One entity's profile from Redis as plain values; windows as of ``at_ms``, or of its last event.

    Raises:
        NotFound: nothing is stored. Unreachable: Redis does not answer. ProfileError: a profile of another version.
    """
    is_payer = entity in FRAUDS_OF
    views = [PAYMENTS_OF[entity], *([FRAUDS_OF[entity]] if is_payer else [])]
    client = RespClient(settings.redis_address, STORE_WITHIN_S)
    try:
        reply = client.call([("MGET", *(key(view, entity_id, settings.partitions) for view in views))])[0]
    except StoreUnavailable as error:
        raise Unreachable(f"{error}: is the stack in {settings.home} up? (`tollgate status`)") from error
    finally:
        client.close()
    if isinstance(reply, Exception):
        raise Unreachable(f"Redis refused the read: {reply}")
    main, frauds = new_arena(PAYER if is_payer else SHARED_ENTITY, 1), new_arena(FRAUDS, 1)
    if not reply[0]:
        raise NotFound(f"nothing is stored about {entity} {entity_id}")
    for arena, stored in zip((main, frauds), reply, strict=False):
        read_profiles(arena, np.array([0]), [stored])
    moment = last_event_ms(main) if at_ms is None else at_ms
    known = describe_payer(main, frauds, moment) if is_payer else describe_shared_entity(main, entity, moment)
    return {"entity": entity, "id": entity_id, "at": instant(moment), **known}


def _moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time such as 2026-11-21T10:15:30Z", param_hint="--at"
        ) from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no zone: add Z, or +01:00", param_hint="--at")
    return epoch_ms(moment)


def _lines(profile: dict[str, Any]) -> list[str]:
    lines = [f"{profile['entity']} {profile['id']}, as of {profile['at']}", ""]
    for name, value in profile.items():
        if name in ("entity", "id", "at", "windows", "last_events", "features", "frauds_by_day"):
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"  {name.replace('_', ' '):<20} {'unknown' if value is None else shown}")
    if "windows" in profile:
        lines += ["", f"  {'window':<8} {'payments':>9} {'sum':>14}  in minor units of any currency"]
        lines += [f"  {w:<8} {v['count']:>9} {v['sum_minor']:>14}" for w, v in profile["windows"].items()]
        lines += ["", "  last events, amounts in minor units"]
        lines += [f"  {event['time']} {event['amount_minor']:>12}" for event in profile["last_events"]]
    if "features" in profile:
        lines += ["", "  features"]
        lines += [f"  {name:<32} {'unknown' if v is None else v}" for name, v in profile["features"].items()]
        frauds = profile["frauds_by_day"]
        lines += ["", "  reported frauds by day of the payment" if frauds else "  no reported frauds"]
        lines += [f"  {day} {count:>6}" for day, count in frauds.items()]
    return lines


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
    summary = {
        "compared": verdict.compared,
        "identical": verdict.identical,
        "explained": verdict.explained,
        "unexplained": verdict.unexplained,
    }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        click.echo("  ".join(f"{name} {value}" for name, value in summary.items()))
    return 1 if verdict.unexplained else 0
