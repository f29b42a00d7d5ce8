"""``tollgate train``, ``models``, ``evaluate`` and ``score``."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click

from features.replay import replay
from models.bundle.content import MODEL
from models.bundle.registry import read_state, states, versions
from models.rollout.transitions import Action
from models.training.label_states import Silence
from models.training.learners.parameters import Kind, Parameters
from models.training.protocol import measure, parse_days
from services.cli.mapping import MAPPING_HELP
from services.cli.models.compare import compare
from services.cli.models.evidence import evidence, evidence_option
from services.cli.models.files import pick_version, read_history, settings_of
from services.cli.models.first_model import has_model, simulated_history
from services.cli.models.rebase import rebased, switched_off_by
from services.cli.models.rollouts import at_time, rollout_version
from services.cli.models.rows import shown_version, version_row
from services.cli.models.thresholds import thresholds
from services.cli.person import person_options, require, signing_name
from services.cli.rules.policy_versions import publish_with
from services.cli.terminal.exits import BadInput, CheckFailed
from services.cli.terminal.options import (
    INPUT_FILE,
    FullHelpGroup,
    Number,
    WholeNumber,
    file_argument,
    home_option,
    json_option,
    reply,
)
from services.rollout.confirmation import confirm
from services.rollout.requests import ask
from services.trainer.bootstrap import train_first_model
from services.trainer.learning import gather, kind_of, learn, live_by_state, same_data
from streams.mapping import load_mapping
from streams.mapping.fields.attributes import attributes_of
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import load_settings

UNREVIEWED = (
    "{version} is unreviewed: nobody but who proposed it has approved it. "
    "`tollgate access add NAME --role approver`, then `tollgate models approve {version} --as NAME`"
)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _kind_option(default_in_words: str, default: Kind | None) -> Any:
    return click.option(
        "--kind", type=click.Choice(get_args(Kind)), default=default,
        help=f"boosted: XGBoost; histogram: scikit-learn's; scorecard: logistic regression on bins; stack: the three. {default_in_words}",
    )  # fmt: skip


@click.command()
@home_option
@json_option
@click.option(
    "--history",
    type=INPUT_FILE,
    help="Train on this file; default: the stack's archive, or for a first model a simulated history.",
)
@click.option("--mapping", metavar="M", help=f"Mapping of the history file: {MAPPING_HELP}")
@click.option(
    "--unlabelled",
    type=click.Choice(["unknown", "honest"]),
    default="unknown",
    show_default=True,
    help="With --history: what a row without a label is, once it is old enough. honest: the file names only frauds.",
)
@_kind_option("Default: as the live model, else boosted.", None)
@click.option(
    "--tune",
    type=Number(1, 86_400),
    metavar="SECONDS",
    help="First look for better parameters for so long, on folds of the oldest rows; the default ones take part.",
)
@person_options("recorded in the lineage")
def train(
    home: Path,
    as_json: bool,
    history: Path | None,
    mapping: str | None,
    unlabelled: Silence,
    kind: Kind | None,
    tune: float | None,
    person: str | None,
    by: str | None,
) -> int:
    """Train, evaluate, sign and publish a model. A stack's first model is served at once, later ones await approval, unless they fail
    a gate: those are rejected (exit code 1)."""
    settings = settings_of(home)
    author = require(settings, "propose", person, by, datetime.now(UTC)).name
    told = by or author
    live = live_by_state(settings)
    parameters = Parameters(kind=kind or kind_of(settings, live), tune_s=tune or 0.0)
    if history is not None or not has_model(settings):
        if history is not None:
            table, silence = read_history(history, mapping), unlabelled
        else:
            table, silence = simulated_history(datetime.now(UTC), _progress), "honest"
        version = train_first_model(settings, table, _progress, silence=silence, by=told, author=author, parameters=parameters)  # fmt: skip
    else:
        source = gather(settings)
        if (known := same_data(settings, source)) is not None:
            _progress(
                f"the data have not changed since {known} was trained on them: the new model will be like it"
            )
        version = learn(
            settings, source, now=datetime.now(UTC), by=told, why="requested at the command line", author=author,
            state="awaiting approval", parameters=parameters, live_version=live, progress=_progress,
        ).version  # fmt: skip
    found = version_row(settings.bundles_dir, version)
    reply(found, as_json, f"{MODEL} {version}: {found['state']}")
    return CheckFailed.exit_code if found["state"] == "rejected" else 0


@click.group(cls=FullHelpGroup)
def models() -> None:
    """List, compare, approve, reject, promote and roll back models."""


@models.command("list")
@home_option
@json_option
def list_models(home: Path, as_json: bool) -> None:
    """List published versions, oldest first."""
    bundles = settings_of(home).bundles_dir
    rows = [version_row(bundles, version) for version in versions(bundles, MODEL)]
    lines = [f"{'version':<10} {'state':<18} {'avg. precision':>14} {'AUC':>6}  {'by':<12} since"]
    for row in rows:
        state = "live, unreviewed" if row["state"] == "live" and not row["reviewed"] else row["state"]
        lines.append(
            f"{row['version']:<10} {state:<18} {_figure(row['average_precision']):>14} {_figure(row['auc_roc']):>6}  "
            f"{row['by']:<12} {row['since']}"
        )
        if row["state"] == "rejected":
            lines += [f"{'':<10} rejected for {reason}" for reason in row["why"].split("; ")]
    reply(rows, as_json, lines if rows else "no model was published yet: `tollgate train`")


@models.command()
@home_option
@json_option
@click.argument("version", required=False)
def show(home: Path, as_json: bool, version: str | None) -> None:
    """Show one version (default: the live one): evaluation, policy, lineage. Verifies its signature."""
    settings = settings_of(home)
    bundle = verified_bundle(settings, pick_version(settings, version))
    full = shown_version(settings, bundle)
    reply(full, as_json, json.dumps(full, indent=2))


models.add_command(compare)
models.add_command(thresholds)
models.add_command(evidence)


@models.command()
@home_option
@json_option
@click.argument("version", required=False)
@click.option("--by", default=getpass.getuser, help="Who publishes; recorded in the lineage.  [default: you]")
@click.option(
    "--why", default="at the command line", show_default=True, help="Reason; recorded in the lineage."
)
def rebase(home: Path, as_json: bool, version: str | None, by: str, why: str) -> None:
    """Publish a waiting version's model with the live policy, after a test on the last week (default: the only such version)."""
    settings = settings_of(home)
    candidate = verified_bundle(settings, version or _awaiting(home, "rebase"))
    known = read_state(settings.bundles_dir, MODEL, candidate.version)
    if known is not None and known.state == "rejected":
        raise CheckFailed(f"{candidate.version} is rejected, and its model with any policy: {known.why}")
    live = verified_bundle(settings, pick_version(settings, None))
    if candidate.version == live.version:
        raise BadInput(f"{live.version} is the live version: name one that awaits approval")
    policy, tested = rebased(settings, candidate, live)
    made, policy_version = publish_with(
        settings, candidate, policy, live=live, by=by, why=why, now=datetime.now(UTC), tested=tested
    )
    state = read_state(settings.bundles_dir, MODEL, made)
    answer = {
        "version": made, "policy_version": policy_version, "model_of": candidate.version, "policy_of": live.version,
        "state": state.state if state else "published", "tested": tested,
    }  # fmt: skip
    changed = "nothing is archived yet to test it on" if tested is None else (
        f"on {tested['rows']:,} payments of the last week it would have changed "
        + (", ".join(f"{n:,} {kind}" for kind, n in tested["changed"].items()) or "nothing")
    )  # fmt: skip
    text = f"{made}: the model of {candidate.version} with the policy of {live.version}, {answer['state']}; {changed}. "
    if state is not None and state.state == "rejected":
        text += state.why
    else:
        text += f"Next: tollgate models evidence {made}, then tollgate models approve {made}"
    reply(answer, as_json, text)


def _request_command(action: Action, text: str, needs_version: bool) -> None:
    @models.command(action, help=text)
    @home_option
    @json_option
    @click.argument("version", required=False)
    @person_options("recorded in the audit")
    @click.option(
        "--why", default="at the command line", show_default=True, help="Reason; recorded in the audit."
    )
    @evidence_option(action)
    def command(
        home: Path,
        as_json: bool,
        version: str | None,
        person: str | None,
        by: str | None,
        why: str,
        evidence: str | None = None,
    ) -> None:
        settings = load_settings(home)
        if version is None and needs_version:
            version = _awaiting(home, action)
        before = live_by_state(settings)
        who = signing_name(settings.access_dir, person, by)
        now = datetime.now(UTC)
        answer = ask(settings, action, MODEL, version, person=who, by=by, why=why, now=now, evidence=evidence)
        if "sequence" in answer:
            answer["replicas"] = confirm(settings, answer["sequence"])
        now_live = answer.get("champion")
        if now_live and before and action in ("promote", "rollback"):
            for part in switched_off_by(settings, before, now_live):
                click.echo(f"switched off with {before}: {part}", err=True)
        reply(answer, as_json, _outcome(answer, version))


def _outcome(answer: dict[str, Any], version: str | None) -> str:
    """What a request has led to: the version and who serves it, or that it is rejected."""
    if "sequence" not in answer:
        return f"{MODEL} {version} is {answer['state']} (by {answer['by']}: {answer['why']})"
    served = "served by " + ", ".join(answer["replicas"]) if answer["replicas"] else "no replica runs yet"
    lines = [f"{MODEL} {answer['champion']} is live (by {answer['approved_by']}: {answer['why']}); {served}"]
    if not answer["reviewed"]:
        lines.append(UNREVIEWED.format(version=answer["champion"]))
    return "\n".join(lines)


_request_command(
    "approve", "Make a version live that awaits approval (default: the only such version).", True
)
_request_command("reject", "Reject a version that awaits approval (default: the only such version).", True)
_request_command("promote", "Make a version live again that was approved before.", False)
_request_command("rollback", "Make the previous version, or VERSION, live again.", False)
models.add_command(rollout_version)
models.add_command(at_time)


@click.command()
@file_argument
@click.option("--mapping", metavar="M", help=f"{MAPPING_HELP}  Default: the file is a history table.")
@click.option(
    "--train", "train_days", required=True, metavar="FROM:TO", help="Training days, both inclusive."
)
@click.option(
    "--delay-days",
    type=WholeNumber(0, 365),
    default=7,
    show_default=True,
    help="Days from a transaction to its label.",
)
@click.option("--test", "test_days", required=True, metavar="FROM:TO", help="Test days, both inclusive.")
@_kind_option("", "boosted")
@home_option
@json_option
def evaluate(
    file: Path,
    mapping: str | None,
    train_days: str,
    delay_days: int,
    test_days: str,
    kind: Kind,
    home: Path,
    as_json: bool,
) -> None:
    """Train a model on some days of a file and test it on others, with the engine's features."""
    try:
        days = parse_days(train_days), parse_days(test_days)
    except ValueError as error:
        raise BadInput(str(error)) from error
    history = read_history(file, mapping)
    _progress(f"computing features of {history.num_rows:,} transactions, then training")
    own = attributes_of(load_mapping(mapping)) if mapping is not None else settings_of(home).declared
    found = measure(history, replay, *days, delay_days, Parameters(kind=kind), own)
    lines = [
        f"{name:<24} {_figure(value)}"
        for name, value in found.items()
        if name not in ("rows", "without_attributes")
    ]
    if "without_attributes" in found:
        lines += [
            "without attributes",
            *(f"  {name:<22} {_figure(value)}" for name, value in found["without_attributes"].items()),
        ]
    reply(found, as_json, [*lines, f"{'rows':<24} {found['rows']}"])


def _awaiting(home: Path, action: str) -> str:
    bundles = settings_of(home).bundles_dir
    found = [v for v, state in states(bundles, MODEL).items() if state == "awaiting approval"]
    if not found and action == "approve":
        found = [v for v in versions(bundles, MODEL) if _unreviewed(bundles, v)]
    if len(found) != 1:
        raise BadInput(f"{action} which version? Awaiting approval: {', '.join(found) or 'none'}")
    return found[0]


def _unreviewed(bundles: Path, version: str) -> bool:
    """Whether a version is served that nobody but who proposed it has approved."""
    state = read_state(bundles, MODEL, version)
    return state is not None and state.state == "live" and not state.reviewed


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
