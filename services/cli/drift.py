"""``tollgate drift``: the newest drift rows and retraining requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition
from rich.console import Console
from rich.table import Table

from services.cli.options import home_option, json_option
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
    type=click.IntRange(1, 10_000),
    help="Rows to show.",
)
@click.option("--follow", is_flag=True, help="Then print new ones as they arrive, until Ctrl-C.")
def drift(home: Path, as_json: bool, count: int, follow: bool) -> None:
    """Show the newest drift rows and retraining requests."""
    bootstrap = load_settings(home).kafka
    consumer = new_consumer(bootstrap, "tollgate-drift-reader")
    try:
        rows = newest(consumer, DRIFT.name, count)
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
            _show(rows, requests)
        if follow:
            for topic, record in _following(consumer):
                click.echo(_json_line(topic, record) if as_json else _text_line(record))
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


def _show(rows: list[DriftRow], requests: list[RetrainingRequest]) -> None:
    table = Table(
        "window end (UTC)", "detector", "feature", "rows", "statistic", "p", "PSI", "severity", "model"
    )
    for row in rows:
        table.add_row(
            f"{row.window_end:%Y-%m-%d %H:%M:%S}", row.detector, row.feature, str(row.rows), f"{row.statistic:.3f}",
            _number(row.p_value, ".1e"), _number(row.psi, ".3f"), row.severity, row.model_version,
            style=_STYLE[row.severity],
        )  # fmt: skip
    console = Console()
    console.print(
        table
        if rows
        else "no drift tests yet: they start once a model is live and has scored 500 transactions"
    )
    for request in requests:
        console.print(_text_line(request), style="bold", highlight=False)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _text_line(record: DriftRow | RetrainingRequest) -> str:
    if isinstance(record, DriftRow):
        return (
            f"{record.window_end:%H:%M:%S} {record.severity:8} {record.detector}:{record.feature} "
            f"statistic {record.statistic:.3f} p {_number(record.p_value, '.1e')} PSI {_number(record.psi, '.3f')} ({record.rows} rows)"
        )
    found = ", ".join(sorted({f"{row.get('detector')}:{row.get('feature')}" for row in record.evidence}))
    return f"{record.requested_at:%Y-%m-%d %H:%M:%S} retraining of {record.model} requested by {record.requested_by} ({record.reason}): {found}"


def _json_line(topic: str, record: Any) -> str:
    return json.dumps({"topic": topic, "record": msgspec.to_builtins(record)})
