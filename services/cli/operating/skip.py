"""``tollgate skip``: tell the workers to set one record aside, and go on behind it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from features.transaction import rfc3339
from infra.stack.health.standing import positions
from services.cli.terminal.exits import BadInput
from services.cli.terminal.options import WholeNumber, home_option, json_option, reply
from streams.log import topics
from streams.runtime.kafka.log_reader import whole_log
from streams.runtime.settings import Settings, load_settings
from streams.runtime.skips import Skip, Skips

#: topics whose readers set records aside
TOPICS = (
    topics.TRANSACTIONS, topics.LABELS, topics.FEATURES, topics.ENTITIES, topics.DECISIONS, topics.OUTCOMES, topics.RETRAINING,
    topics.ROLLOUT_REQUESTS,
)  # fmt: skip


@click.command()
@click.argument("topic", type=click.Choice([topic.name for topic in TOPICS]))
@click.argument("partition", type=WholeNumber(min=0))
@click.argument("offset", type=WholeNumber(min=0))
@click.option(
    "--why", required=True, help="Why the record is skipped; stands in its dead letter and on the audit."
)
@click.option("--by", default=getpass.getuser, help="Who skips it.  [default: you]")
@home_option
@json_option
def skip(home: Path, topic: str, partition: int, offset: int, why: str, by: str, as_json: bool) -> None:
    """Set aside the record at OFFSET, which stops its worker: it becomes a dead letter, and the worker goes on behind it.

    A record that has ended its worker three times is set aside without this command. Exit code 2: there is no such record, or
    its readers are past it.
    """
    settings = load_settings(home)
    _check(settings, topic, partition, offset)
    now = rfc3339(datetime.now(UTC))
    wanted = Skip(topic, partition, offset, why, by, now)
    Skips(settings.run_dir).add(wanted)
    reply(
        msgspec.to_builtins(wanted), as_json,
        f"{topic}/{partition}/{offset} is set aside when its worker meets it: a running one at once, one that restarts at its "
        "next start. `tollgate dead-letters list --reason skipped` shows it then.",
    )  # fmt: skip


def _check(settings: Settings, topic: str, partition: int, offset: int) -> None:
    """Raises: BadInput: no such record, or its readers are past it; LedgerUnreachable: the broker does not answer."""
    first, end = whole_log(settings.kafka, [topic])
    if partition not in end[topic]:
        raise BadInput(f"{topic} has partitions 0 to {len(end[topic]) - 1}, not {partition}")
    low, high = first[topic][partition], end[topic][partition]
    if not low <= offset < high:
        raise BadInput(f"{topic}[{partition}] has records from {low} to {high - 1}, not {offset}")
    reading = {
        g: at.position for (g, t, p), at in positions(settings).items() if (t, p) == (topic, partition)
    }
    if reading and min(reading.values()) > offset:
        past = ", ".join(f"{group} is at {position}" for group, position in sorted(reading.items()))
        raise BadInput(f"{topic}/{partition}/{offset} is behind its readers: {past}")
