"""``tollgate drift``: what drifts, and the newest retraining requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition

from services.cli.models.drift_findings import DriftFinding, findings
from services.cli.terminal.options import WholeNumber, home_option, json_option
from services.cli.terminal.tables import console, table
from services.cli.terminal.words import visible
from streams.contracts.decoding import RecordDecoder
from streams.contracts.drift import DriftRow, decode_drift
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.retraining import RetrainingRequest, decode_retraining
from streams.log.topics import DRIFT, RETRAINING
from streams.runtime.kafka.clients import is_record, new_consumer, watermarks
from streams.runtime.passed_over import pass_over
from streams.runtime.settings import load_settings

_DEADLINE_S = 10.0
_REQUESTS = 5
#: newest rows that findings are made from
_ROWS = 5_000
_STYLE = {"none": "", "warning": "yellow", "critical": "bold red"}
_DECODERS: dict[str, RecordDecoder[Any]] = {DRIFT.name: decode_drift, RETRAINING.name: decode_retraining}


class TopicNotRead(Exception):
    """A topic could not be read to its end in time."""

    exit_code = 3


@click.command()
@home_option
@json_option
@click.option(
    "-n",
    "--newest",
    "count",
    default=20,
    show_default=True,
    type=WholeNumber(1, 10_000),
    help="Findings to show; with --json: rows.",
)
@click.option("--follow", is_flag=True, help="Then print new ones as they arrive, until Ctrl-C.")
def drift(home: Path, as_json: bool, count: int, follow: bool) -> None:
    """Show what drifts, since when and how often, and the newest retraining requests. With --json: the newest rows as they are."""
    bootstrap = load_settings(home).kafka
    consumer = new_consumer(bootstrap, "tollgate-drift-reader")
    try:
        rows = newest(consumer, DRIFT.name, count if as_json else max(count, _ROWS))
        requests = newest(consumer, RETRAINING.name, min(count, _REQUESTS))
        if as_json and not follow:
            click.echo(
                json.dumps(
                    {"drift": msgspec.to_builtins(rows), "retraining": msgspec.to_builtins(requests)},
                    indent=2,
                )
            )
            return
        if not as_json:
            _show(findings(rows)[:count], requests)
        if follow:
            for topic, record in _following(consumer):
                click.echo(_json_line(topic, record) if as_json else visible(_text_line(record)))
    finally:
        consumer.close()


def newest(consumer: Consumer, topic: str, count: int, timeout_s: float = _DEADLINE_S) -> list[Any]:
    """The newest ``count`` records of a one-partition topic, oldest first.

    Raises:
        TopicNotRead: its end was not reached within ``timeout_s``.
        KafkaException: the broker does not answer or has no such topic.
    """
    deadline = time.monotonic() + timeout_s
    low, high = watermarks(consumer, TopicPartition(topic, 0), timeout_s)
    start = max(low, high - count)
    records: list[Any] = []
    if start >= high:
        return records
    consumer.assign([TopicPartition(topic, 0, start)])
    position = start
    while position < high:
        if time.monotonic() > deadline:
            raise TopicNotRead(f"{topic} was not read to its end within {timeout_s:g} s")
        message = consumer.poll(0.2)
        if message is None:
            continue
        if is_record(consumer, message) and message.offset() < high:
            records += _readable(message)
        position = max(position, (message.offset() or 0) + 1)
    return records


def _following(consumer: Consumer) -> Iterator[tuple[str, Any]]:
    consumer.assign([TopicPartition(topic, 0, OFFSET_END) for topic in _DECODERS])
    while True:
        message = consumer.poll(0.5)
        if message is not None and is_record(consumer, message):
            for record in _readable(message):
                yield str(message.topic()), record


def _readable(message: Message) -> list[Any]:
    """The record of a message; nothing, which is logged, where it cannot be read."""
    try:
        return [_DECODERS[message.topic()](message.value())]
    except InvalidEvent as error:
        pass_over(message, error)
        return []


def _show(found: list[DriftFinding], requests: list[RetrainingRequest]) -> None:
    shown = table(
        "severity",
        "feature",
        "detector",
        "since (UTC)",
        "last",
        "rounds",
        "statistic",
        "p",
        "PSI",
        "rows",
        "model",
    )
    for finding in found:
        row = finding.newest
        shown.add_row(
            row.severity, row.feature, row.detector, f"{finding.since:%Y-%m-%d %H:%M:%S}", _last(finding), str(finding.rounds),
            f"{row.statistic:.3f}", _number(row.p_value, ".1e"), _number(row.psi, ".3f"), str(row.rows), row.model_version,
            style=_STYLE[row.severity],
        )  # fmt: skip
    out = console()
    out.print(
        shown
        if found
        else "no drift tests yet: they start once a model is live and has scored 500 transactions"
    )
    for why in _causes(found):
        out.print(visible(why), style="bold", highlight=False)
    for request in requests:
        out.print(visible(_text_line(request)), style="bold", highlight=False)


def _causes(found: list[DriftFinding]) -> list[str]:
    """What the drift of each model's newest window that drifts probably comes from."""
    newest: dict[str, DriftRow] = {}
    for row in (finding.newest for finding in found):
        if row.cause is not None and (
            row.model_version not in newest or row.window_end > newest[row.model_version].window_end
        ):
            newest[row.model_version] = row
    return [
        f"likely cause of the drift from {version}: {row.cause}: {row.why}" for version, row in newest.items()
    ]


def _last(finding: DriftFinding) -> str:
    """The end of the newest window; its date only if it is another day."""
    same_day = finding.since.date() == finding.newest.window_end.date()
    return format(finding.newest.window_end, "%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _text_line(record: DriftRow | RetrainingRequest) -> str:
    if isinstance(record, DriftRow):
        return (
            f"{record.window_end:%H:%M:%S} {record.severity:8} {record.detector}:{record.feature} "
            f"statistic {record.statistic:.3f} p {_number(record.p_value, '.1e')} PSI {_number(record.psi, '.3f')} ({record.rows} rows)"
        )
    found = ", ".join(sorted({_evidence(row) for row in record.evidence}))
    return f"{record.requested_at:%Y-%m-%d %H:%M:%S} retraining of {record.model} requested by {record.requested_by} ({record.reason}): {found}"


def _evidence(row: dict[str, Any]) -> str:
    """A column that drifts, or what a person said."""
    return (
        f"{row['detector']}:{row.get('feature')}" if "detector" in row else str(row.get("why", "no reason"))
    )


def _json_line(topic: str, record: Any) -> str:
    return json.dumps({"topic": topic, "record": msgspec.to_builtins(record)})
