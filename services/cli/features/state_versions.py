"""``tollgate features prepare`` and ``drop-version``: the state of another version, before and after it is switched over."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from confluent_kafka import KafkaException

from features.store.partition_lease import LeaseLost
from features.store.redis_client import StoreUnavailable
from services.cli.exits import Unreachable
from services.cli.options import home_option, json_option
from streams.runtime.kafka.log_reader import LedgerUnreachable
from streams.runtime.settings import load_settings


class Taken(click.ClickException):
    """Somebody else works on the same version."""

    exit_code = 1


class InUse(click.ClickException):
    """The version must stay."""

    exit_code = 2


@click.command()
@home_option
@json_option
def prepare(home: Path, as_json: bool) -> None:
    """Make the state that this code reads, beside the one at work, which goes on. May be repeated."""
    from streams.state.prepare import prepare as make_beside  # kernels and Kafka are slow to import

    try:
        made = make_beside(load_settings(home), say=_say)
    except (StoreUnavailable, LedgerUnreachable, TimeoutError, KafkaException) as error:
        raise Unreachable(f"{error}: what is at work is as it was; run it again") from error
    except LeaseLost as error:
        raise Taken(
            f"{error}: what is at work is as it was, and so is what the other one prepares"
        ) from error
    if as_json:
        click.echo(json.dumps(asdict(made)))
    elif made.nothing_to_do:
        click.echo(f"nothing to prepare: {made.nothing_to_do}")
    else:
        click.echo(
            f"state version {made.version} of {made.entities:,} profiles made from {made.transactions:,} transactions and"
            f" {made.items:,} records of entities' items in {made.seconds:.1f} s; {made.behind:,} records behind, which the"
            " processor applies when it starts with this code"
        )


@click.command("drop-version")
@home_option
@json_option
@click.argument("version", type=click.IntRange(min=1))
def drop_version(home: Path, as_json: bool, version: int) -> None:
    """Take the state of a version that is not at work any more out of the store."""
    from streams.state.drop_version import VersionInUse
    from streams.state.drop_version import drop_version as drop

    try:
        gone = drop(load_settings(home), version, say=_say)
    except StoreUnavailable as error:
        raise Unreachable(f"{error}: run it again") from error
    except VersionInUse as error:
        raise InUse(f"{error}") from error
    if as_json:
        click.echo(json.dumps({"version": version, "entities": gone}))
    else:
        click.echo(f"state version {version} is gone from {gone:,} entities")


def _say(text: str) -> None:
    click.echo(f"{text} ...", err=True)
