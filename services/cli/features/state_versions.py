"""``tollgate features prepare`` and ``drop-version``: build the state of a new version, delete that of an old one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from confluent_kafka import KafkaException

from features.store.partition_lease import LeaseLost
from features.store.redis_client import StoreUnavailable
from services.cli.terminal.exits import BadInput, CheckFailed, Unreachable
from services.cli.terminal.options import WholeNumber, home_option, json_option, reply
from streams.runtime.kafka.log_reader import LedgerUnreachable
from streams.runtime.settings import load_settings


@click.command()
@home_option
@json_option
def prepare(home: Path, as_json: bool) -> None:
    """Build the state version that this code reads, while the current one serves. Can be repeated."""
    from streams.state.prepare import prepare as make_beside  # kernels and Kafka are slow to import

    try:
        made = make_beside(load_settings(home), say=_say)
    except (StoreUnavailable, LedgerUnreachable, TimeoutError, KafkaException) as error:
        raise Unreachable(f"{error}: the current state is unchanged; run this command again") from error
    except LeaseLost as error:
        raise CheckFailed(
            f"{error}: neither the current state nor the one being prepared was changed"
        ) from error
    text = f"nothing to prepare: {made.nothing_to_do}"
    if not made.nothing_to_do:
        text = (
            f"state version {made.version} of {made.entities:,} profiles built from {made.transactions:,} transactions and"
            f" {made.items:,} records of entity updates in {made.seconds:.1f} s. It is {made.behind:,} records behind;"
            " the processor applies them when it starts with this code"
        )
    reply(asdict(made), as_json, text)


@click.command("drop-version")
@home_option
@json_option
@click.argument("version", type=WholeNumber(min=1))
def drop_version(home: Path, as_json: bool, version: int) -> None:
    """Delete the state of a version that is no longer in use."""
    from streams.state.drop_version import VersionInUse
    from streams.state.drop_version import drop_version as drop

    try:
        gone = drop(load_settings(home), version, say=_say)
    except StoreUnavailable as error:
        raise Unreachable(f"{error}: run it again") from error
    except VersionInUse as error:
        raise BadInput(str(error)) from error
    reply(
        {"version": version, "profiles": gone}, as_json, f"state version {version} deleted: {gone:,} profiles"
    )


def _say(text: str) -> None:
    click.echo(f"{text} ...", err=True)
