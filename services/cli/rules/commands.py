"""``tollgate rules``: check a policy file, test it on archived decisions, publish it for approval, list and export the live policy."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from features.attributes import Attributes
from features.transaction import from_ms
from models.policy.checking import warnings
from models.policy.comparison import Comparison
from models.policy.policy_export import as_toml, exported
from models.policy.policy_file import PolicyFile
from services.cli.models.files import pick_version, settings_of
from services.cli.person import person_options, require
from services.cli.rules.policy_versions import (
    FileRefused,
    described,
    load_policy_file,
    publish_policy,
    removed_by,
)
from services.cli.rules.view import listed, listed_text, tested_text
from services.cli.terminal.exits import CheckFailed
from services.cli.terminal.options import (
    OUTPUT_FILE,
    FullHelpGroup,
    file_argument,
    home_option,
    json_option,
    reply,
)
from services.cli.terminal.times import Length
from streams.archive.days import span
from streams.archive.rules_past import past_rows
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import SettingsError, load_settings

_TELL_EVERY_S = 2.0


@click.group(cls=FullHelpGroup)
def rules() -> None:
    """Check, test, publish, list and export rules and lists (file format: models/RULES.md)."""


@rules.command()
@file_argument
@home_option
@json_option
def check(file: Path, home: Path, as_json: bool) -> int:
    """Check a policy file and print every error in it."""
    try:
        found = load_policy_file(file, _declared(home))
    except FileRefused as error:
        if not as_json:
            raise
        click.echo(json.dumps({"good": False, "errors": error.found}))
        return error.exit_code
    ended = _expired(found, datetime.now(UTC))
    idle = warnings(found)
    numbers = described(found)
    for text in [*(f"{name}: expired, has no effect" for name in ended), *idle]:
        click.echo(f"warning: {text}", err=True)
    text = f"{file} is valid: {numbers['rules']} rules, {numbers['lists']} lists with {numbers['entries']} entries"
    reply({"good": True, "errors": [], "expired": ended, "warnings": idle, **numbers}, as_json, text)
    return 0


@rules.command()
@file_argument
@click.option("--since", type=Length(), default="7d", show_default=True, metavar="7d|24h|30m", help="How far back from the newest event.")  # fmt: skip
@home_option
@json_option
def test(file: Path, since: timedelta, home: Path, as_json: bool) -> None:
    """Show what a policy file would have changed on archived transactions: decisions, amounts, false alarms, by rule."""
    settings = settings_of(home)
    found = load_policy_file(file, settings.declared)
    live = verified_bundle(settings, pick_version(settings, None))
    after = found.applied_to(live.policy, "tested")
    past = span(settings.archive_dir, int(since.total_seconds() * 1000))
    if past is None:
        raise CheckFailed(
            f"nothing is archived in {settings.archive_dir} yet: transactions are archived seconds after their decision"
        )
    comparison = Comparison(live.policy, after, time.time() * 1000)
    done, told_s = 0, time.monotonic()
    for rows in past_rows(
        settings.archive_dir, past, sorted(live.policy.features | after.features), settings.declared
    ):
        comparison.add(rows)
        done += len(rows.scores)
        if time.monotonic() - told_s >= _TELL_EVERY_S:
            told_s = time.monotonic()
            click.echo(f"{done:,} of at most {past.rows:,} transactions", err=True)
    answer = {
        "file": str(file), "against": {"model_version": live.version, "policy_version": live.policy.version},
        "since": from_ms(past.since_ms).isoformat(), "until": from_ms(past.newest_ms).isoformat(), **comparison.report(),
        "samples": comparison.samples(),
    }  # fmt: skip
    reply(answer, as_json, tested_text(answer))


@rules.command("list")
@home_option
@json_option
def list_rules(home: Path, as_json: bool) -> None:
    """Show the live policy: thresholds, rules and lists with owner and expiry."""
    settings = settings_of(home)
    answer = listed(verified_bundle(settings, pick_version(settings, None)), datetime.now(UTC))
    reply(answer, as_json, listed_text(answer))


@rules.command()
@click.option("--out", type=OUTPUT_FILE, metavar="FILE", help="Write to this new file.  [default: print]")  # fmt: skip
@home_option
@json_option
def export(out: Path | None, home: Path, as_json: bool) -> None:
    """Write the live policy as a file that can be edited and published again."""
    settings = settings_of(home)
    live = verified_bundle(settings, pick_version(settings, None))
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(exported(live.policy)), indent=2).decode()
    else:
        text = as_toml(live.policy, f"policy {live.policy.version}, live with model {live.version}")
    if out is None:
        click.echo(text, nl=as_json)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(f"{out} exists: name a new file") from None
    except OSError as error:
        raise click.UsageError(f"{out} cannot be written: {error.strerror}") from None
    click.echo(f"wrote policy {live.policy.version} to {out}", err=True)


@rules.command()
@file_argument
@person_options("recorded in the lineage")
@click.option(
    "--why", default="at the command line", show_default=True, help="Reason; recorded in the lineage."
)
@home_option
@json_option
def publish(file: Path, person: str | None, by: str | None, why: str, home: Path, as_json: bool) -> None:
    """Publish the live model with this policy as a new signed version. `tollgate models approve` makes it live."""
    settings = settings_of(home)
    found = load_policy_file(file, settings.declared)
    base = verified_bundle(settings, pick_version(settings, None))
    removed = removed_by(found, base.policy)
    if removed:
        click.echo(f"the file leaves out, and so removes: {', '.join(removed)}", err=True)
    now = datetime.now(UTC)
    author = require(settings, "propose", person, by, now).name
    version, policy_version = publish_policy(
        settings, base, found, by=by or author, author=author, why=why, now=now
    )
    answer = {
        "version": version, "policy_version": policy_version, "model_of": base.version, "state": "awaiting approval",
    }  # fmt: skip
    text = f"{version} awaits approval: the model of {base.version} with policy {policy_version}. Next: tollgate models approve {version}"
    reply(answer, as_json, text)


def _declared(home: Path) -> Attributes | None:
    """The attributes of the stack in a folder; None if there is none."""
    try:
        return load_settings(home).declared
    except SettingsError:
        return None


def _expired(file: PolicyFile, now: datetime) -> list[str]:
    out = [f"rule {rule.name}" for rule in file.rules if rule.expires is not None and rule.expires <= now]
    for found in file.lists:
        ends = [entry.expires or found.expires for entry in found.entries]
        past = sum(1 for end in ends if end is not None and end <= now)
        if past:
            out.append(f"list {found.name}: {past} of {len(ends)} entries")
    return out
