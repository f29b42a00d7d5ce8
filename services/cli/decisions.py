"""``tollgate reconcile``, ``decisions`` and ``dead-letters``: the outcome of every record, read from Kafka's topics."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import TopicPartition

from features.transaction import rfc3339
from models.decision import Decision
from services.cli.terminal.options import (
    FullHelpGroup,
    Number,
    WholeNumber,
    home_option,
    json_option,
    transaction_argument,
)
from services.cli.terminal.words import visible
from streams.audit import Accounts, Balance, Span, read_span, whole_log
from streams.audit.dead_letter_replay import (
    Refused,
    ReplayRefused,
    list_refused,
    mend,
    send_again,
    unlike_their_source,
)
from streams.audit.repair import Repaired, repair
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.tenants import Tenants
from streams.log import topics
from streams.runtime.edge_keys import EdgeKeys
from streams.runtime.kafka.clients import is_record
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.passed_over import pass_over
from streams.runtime.settings import Settings, load_settings

#: fields whose value is a number, not text
_NUMBERS = ("amount_minor", "latitude", "longitude")


@click.command()
@home_option
@json_option
@click.option(
    "--wait",
    "wait_s",
    type=Number(min=0),
    default=0.0,
    metavar="S",
    help="Repeat until it balances, for at most S seconds.",
)
@click.option(
    "--repair",
    "repairing",
    is_flag=True,
    help="Give what has none an outcome, and strike decisions too many.",
)
@click.option("--why", help="With --repair: the reason; it stands on the topic `books`.")
@click.option("--by", default=getpass.getuser, help="With --repair: who does it (default: you).")
def reconcile(home: Path, as_json: bool, wait_s: float, repairing: bool, why: str | None, by: str) -> int:
    """Check that every transaction on Kafka has exactly one outcome: a decision or a dead letter. Exit code 1: not (yet).

    With --repair, transactions over a minute old without one get a dead letter, from which they can be sent again; a second decision of
    a transaction, or one of none, is struck from the books.
    """
    if repairing and not why:
        raise click.UsageError("--repair needs --why TEXT: what happened")
    settings = load_settings(home)
    until = time.monotonic() + wait_s
    books = _Books(settings.kafka, settings.known_tenants)
    while not (balance := books.balance()).balanced and time.monotonic() < until:
        time.sleep(min(1.0, max(0.0, until - time.monotonic())))
    if repairing and why and not balance.balanced:
        done = books.repair(settings, by, why)
        click.echo(
            f"{done.closed:,} got a dead letter, {done.settled:,} were decided before the log begins, {done.struck:,} decisions struck, "
            f"{done.too_young:,} are too young",
            err=True,
        )
        balance = books.balance()
    if as_json:
        click.echo(json.dumps(_balance_json(balance)))
    else:
        for name, value in _balance_json(balance).items():
            # bool first: it is an int, and "balanced 0" would read as a count
            shown = ("yes" if value else "no") if isinstance(value, bool) else format(value, ",")
            click.echo(f"{name.replace('_', ' '):<15}{shown:>14}")
    return 0 if balance.balanced else 1


def _balance_json(balance: Balance) -> dict[str, Any]:
    return {
        "ingested": balance.ingested,
        "scored": balance.scored,
        "degraded": balance.degraded,
        "not_scored": balance.not_scored,
        "dead_lettered": balance.dead_lettered,
        "in_flight": balance.in_flight,
        "duplicated": balance.duplicated,
        "unknown": balance.unknown,
        "repeated": balance.repeated,
        "struck": balance.struck,
        "balanced": balance.balanced,
    }


class _Books:
    """The accounts of the whole log. A second call reads only new records."""

    def __init__(self, bootstrap: str, tenants: Tenants) -> None:
        self._bootstrap = bootstrap
        self._accounts = Accounts(tenants=tenants)
        self._read: Span = {}
        self._first: Span = {}

    def balance(self) -> Balance:
        # outcomes are read up to an earlier moment than transactions: no outcome is seen without its transaction
        outcomes = (topics.DECISIONS.name, topics.DEAD_LETTERS.name, topics.BOOKS.name)
        for names in (outcomes, (topics.TRANSACTIONS.name,)):
            start, end = whole_log(self._bootstrap, names)
            self._read_on(start, end)
        return self._accounts.balance()

    def _read_on(self, start: Span, end: Span) -> None:
        begin = {
            topic: {p: self._read.get(topic, {}).get(p, o) for p, o in ends.items()}
            for topic, ends in start.items()
        }
        read_span(self._bootstrap, begin, end, self._accounts.add)
        self._first = {**start, **self._first}
        self._read.update(end)

    def repair(self, settings: Settings, by: str, why: str) -> Repaired:
        """Repair what the last ``balance`` found. Raises: see ``streams.audit.repair``."""
        return repair(settings, self._accounts, (self._first, self._read), by, why)


@click.group(cls=FullHelpGroup)
def decisions() -> None:
    """Show the newest decisions, or one whole; explain one, make one again."""


@decisions.command()
@transaction_argument
@home_option
@json_option
def show(transaction_id: str, tenant: str, home: Path, as_json: bool) -> None:
    """Show one decision whole: reasons, payment, rules and lists that matched with their values, features as served."""
    from services.cli.one_decision.command import (
        show_decision,  # Arrow and the policy's parser are slow to import
    )

    show_decision(load_settings(home), tenant, transaction_id, as_json)


@decisions.command()
@transaction_argument
@home_option
@json_option
def explain(transaction_id: str, tenant: str, home: Path, as_json: bool) -> None:
    """Show where a decision comes from: what moved its score, model and approval, training run, data, code."""
    from services.cli.one_decision.command import explain_decision  # slow to import, see `show`

    explain_decision(load_settings(home), tenant, transaction_id, as_json)


@decisions.command()
@transaction_argument
@click.option(
    "--today", is_flag=True, help="With the model and rules that are live now, whatever they change."
)
@home_option
@json_option
def replay(transaction_id: str, tenant: str, today: bool, home: Path, as_json: bool) -> int:
    """Make a past decision again from the features as served, and compare it bit for bit. Exit code 1: it differs, or cannot be made."""
    from services.cli.one_decision.command import replay_decision  # slow to import, see `show`

    return replay_decision(load_settings(home), tenant, transaction_id, as_json, today=today)


@decisions.command()
@home_option
@json_option
@click.option("-n", "count", type=WholeNumber(0, 100_000), default=10, show_default=True, help="How many.")
@click.option("--follow", "-f", is_flag=True, help="Then print new ones as they arrive, until Ctrl-C.")
def tail(home: Path, as_json: bool, count: int, follow: bool) -> None:
    """Show the newest decisions, in the order in which Kafka received them."""
    bootstrap = load_settings(home).kafka
    name = topics.DECISIONS.name
    first, end = whole_log(bootstrap, [name])
    start = {name: {p: max(first[name][p], last - count) for p, last in end[name].items()}}
    newest: list[Any] = []
    read_span(bootstrap, start, end, newest.extend)
    newest.sort(key=lambda record: (record.timestamp()[1], record.partition(), record.offset()))
    for record in newest[len(newest) - min(count, len(newest)) :]:
        _show_decision(record, as_json)
    if follow:
        _follow(bootstrap, end, as_json)


def _follow(bootstrap: str, start: Span, as_json: bool) -> None:
    consumer = log_reader(bootstrap, **{"fetch.min.bytes": 1})
    try:
        consumer.assign([TopicPartition(t, p, o) for t, ends in start.items() for p, o in ends.items()])
        while True:
            for record in consumer.consume(1_000, timeout=0.5):
                if is_record(consumer, record):
                    _show_decision(record, as_json)
    finally:
        consumer.close()


def _show_decision(record: Any, as_json: bool) -> None:
    try:
        found = decode_decision(record.value())
    except InvalidEvent as error:
        # whoever may produce can write there; labels and archive keep it as a dead letter
        pass_over(record, error)
        return
    if as_json:
        click.echo(record.value())
        return
    click.echo(visible(decision_line(found)))


def decision_line(found: Decision) -> str:
    """A decision in one line: what decided it, and which rules and lists matched or what was missing, if any."""
    parts = [
        f"{found.decided_at:%Y-%m-%dT%H:%M:%S.%f}Z  {found.transaction_id:<24} {found.decision:<8} "
        f"{found.status:<10} {'-' if found.score is None else format(found.score, '.4f'):<7} "
        f"{found.model} {found.model_version}{'' if found.arm == 'champion' else f' ({found.arm})'}",
        "; ".join(reason.text for reason in found.reasons),
    ]
    for names, said in ((found.rules, "matched"), (found.degraded_by, "missing")):
        if names:
            parts.append(f"[{said}: {', '.join(names)}]")
    return "  ".join(part for part in parts if part)


@click.group(cls=FullHelpGroup)
def dead_letters() -> None:
    """List refused records, correct them, send them again."""


@dead_letters.command(name="list")
@home_option
@json_option
@click.option("--reason", help="Only records refused for this reason.")
@click.option("--all", "everything", is_flag=True, help="Include records that were sent again.")
def list_letters(home: Path, as_json: bool, reason: str | None, everything: bool) -> None:
    """List refused records and reasons, oldest first. Records that were sent again need --all."""
    found = [
        r for r in list_refused(load_settings(home).kafka, reason) if everything or r.replayed_at is None
    ]
    if as_json:
        click.echo(msgspec.json.encode([_refused_json(refused) for refused in found]))
        return
    for refused in found:
        again = f"  (sent again {refused.replayed_at})" if refused.replayed_at else ""
        said = (
            f"{refused.id:<28} {refused.letter.reason:<12} {refused.letter.field:<16} {refused.letter.text}"
        )
        click.echo(visible(said) + again)
    click.echo(f"{len(found):,} dead letters", err=True)


def _refused_json(refused: Refused) -> dict[str, Any]:
    letter = msgspec.to_builtins(refused.letter)
    return {"id": refused.id, **letter, "replayed_at": refused.replayed_at}


@dead_letters.command(name="replay")
@home_option
@json_option
@click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="TOPIC/PARTITION/OFFSET",
    help="The record, as `list` shows it.",
)
@click.option("--all-reason", metavar="R", help="All records of this reason that were not sent again.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Replace a field; an empty VALUE removes it.",
)
@click.option(
    "--edit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send the content of this file instead of the record.",
)
@click.option(
    "--unproven",
    "take_unproven",
    is_flag=True,
    help="Also send what its source topic does not hold (any more), as anybody could send it.",
)
@click.option("--dry-run", is_flag=True, help="Print the records, send none.")
def replay_letters(
    home: Path,
    as_json: bool,
    ids: tuple[str, ...],
    all_reason: str | None,
    changes: tuple[str, ...],
    edit: Path | None,
    take_unproven: bool,
    dry_run: bool,
) -> int:
    """Send corrected records to their original topic. Exit code 2: one is still invalid, or not as its source topic holds it; none was sent."""
    if bool(ids) == bool(all_reason):
        raise click.UsageError("name records with --id, or a reason with --all-reason")
    if edit is not None and len(ids) != 1:
        raise click.UsageError("--edit replaces one record: name it with --id")
    settings = load_settings(home)
    bootstrap = settings.kafka
    fields = dict(_change(text) for text in changes)
    known = list_refused(bootstrap, all_reason)
    chosen = [r for r in known if r.id in ids] if ids else [r for r in known if r.replayed_at is None]
    absent = set(ids) - {refused.id for refused in chosen}
    if absent:
        raise ReplayRefused(
            f"no dead letter {', '.join(sorted(absent))}: `tollgate dead-letters list --all` shows them"
        )
    done = [refused.id for refused in chosen if refused.replayed_at]
    if done:
        raise ReplayRefused(f"{', '.join(done)} was already sent again")
    whole = edit.read_bytes() if edit else None
    mended = [(refused, mend(refused, fields, whole)) for refused in chosen]
    unproven = unlike_their_source(bootstrap, chosen)
    if unproven and not take_unproven:
        named = ", ".join(refused.id for refused in unproven[:10])
        raise ReplayRefused(
            f"{len(unproven)} dead letters are not what stands at the place that they name ({named}): their records are past their "
            "retention, or somebody forged them. Read them, and send them with --unproven"
        )
    now = rfc3339(datetime.now(UTC))
    keys = EdgeKeys(settings.edge_keys_path)
    sent = 0 if dry_run else send_again(bootstrap, mended, now, keys, unsealed=unproven)
    if as_json:
        click.echo(json.dumps({"chosen": len(mended), "sent": sent}))
    else:
        for refused, raw in mended:
            click.echo(visible(f"{refused.id} -> {raw.decode()}"))
        click.echo(f"{sent:,} sent again", err=True)
    return 0


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set takes FIELD=VALUE, not {text!r}")
    if value == "":
        return name, None
    if name not in _NUMBERS:
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        raise click.UsageError(f"{name} is a number, not {value!r}") from None
