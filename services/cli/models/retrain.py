"""``tollgate retrain``: a person asks the trainer for a new model, as drift does."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from models.bundle.content import MODEL
from services.cli.person import require
from services.cli.terminal.options import Number, WholeNumber, home_option, json_option
from services.trainer.answers import Answers, TrainerAnswer
from streams.access.signatures import signed
from streams.access.signed_record import headers
from streams.contracts.retraining import RetrainingRequest
from streams.contracts.text.json_encoding import encode
from streams.log.topics import RETRAINING
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings, load_settings

_SENT_WITHIN_S, _LOOK_S = 15.0, 0.5


@click.command()
@click.option("--why", required=True, help="What happened; kept with the model as its evidence.")
@click.option(
    "--days",
    default=60,
    show_default=True,
    type=WholeNumber(1, 3_650),
    help="Train on the payments of so many days before now.",
)
@click.option("--as", "person", metavar="NAME", help="Who asks (`tollgate access list`).  [default: you]")
@click.option(
    "--wait",
    "wait_s",
    type=Number(min=0),
    default=0.0,
    metavar="S",
    help="Wait at most S seconds for the trainer's answer. Exit code 1: none, or no model.",
)
@home_option
@json_option
def retrain(home: Path, as_json: bool, why: str, days: int, person: str | None, wait_s: float) -> int:
    """Ask the trainer for a new model. It trains on what was archived, refuses data that it knows, and the model waits for approval."""
    if not why.strip():
        raise click.UsageError("--why needs a reason")
    settings = load_settings(home)
    request = ask(settings, why.strip(), days, person, datetime.now(UTC))
    answer = _answer(settings, request.dedupe_key, wait_s) if wait_s else None
    if as_json:
        said = None if answer is None else {"result": answer.result, "version": answer.version, "reason": answer.reason}  # fmt: skip
        click.echo(
            json.dumps({
                "dedupe_key": request.dedupe_key, "requested_by": request.requested_by, "why": why.strip(),
                "data_from": request.data_from.isoformat(), "data_to": request.data_to.isoformat(), "answer": said,
            })
        )  # fmt: skip
    elif answer is None:
        click.echo(
            f"asked by {request.requested_by}: {request.dedupe_key}; a model appears in `tollgate models list`"
        )
    elif answer.version is not None:
        click.echo(f"{MODEL} {answer.version} is trained: `tollgate models compare {answer.version}`")
    else:
        click.echo(f"{answer.result}: {answer.reason}")
    return 0 if not wait_s or (answer is not None and answer.result == "published") else 1


def ask(settings: Settings, why: str, days: int, person: str | None, now: datetime) -> RetrainingRequest:
    """Send a signed request and return it. Each is one of its own: a person may ask again at any time.

    Raises:
        AccessDenied: the person may not ask. AccessError: there is no such person or key. DeliveryError: the broker does not take it.
    """
    identity = require(settings, "retrain", person, None, now)
    request = RetrainingRequest(
        model=MODEL, reason="person", evidence=[{"why": why, "by": identity.name}], data_from=now - timedelta(days=days),
        data_to=now, requested_at=now, dedupe_key=f"person:{MODEL}:{identity.name}:{now:%Y%m%dT%H%M%S%f}", cooldown_s=0.0,
        requested_by=identity.name,
    )  # fmt: skip
    record = signed(identity, RETRAINING.name, encode(request))
    producer = new_producer(settings.kafka, "tollgate-retrain")
    producer.produce(RETRAINING.name, key=MODEL, value=record.value, headers=headers(record))
    flush(producer, _SENT_WITHIN_S)
    return request


def _answer(settings: Settings, dedupe_key: str, wait_s: float) -> TrainerAnswer | None:
    until = time.monotonic() + wait_s
    while True:
        answer = Answers(settings.root / "trainer").find(dedupe_key)
        left = until - time.monotonic()
        if answer is not None or left <= 0:
            return answer
        time.sleep(min(_LOOK_S, left))
