"""``tollgate models rollout``, ``models at`` and ``tollgate rollout``: a new model step by step, and who was served when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from models.bundle.content import MODEL, BundleRefused
from models.rollout.arms import CHALLENGER, CHAMPION
from models.rollout.plan import PlanError, parse_plan
from models.rollout.transitions import Action
from services.cli.person import person_options, signing_name
from services.cli.terminal.exits import BadInput
from services.cli.terminal.options import INPUT_FILE, FullHelpGroup, home_option, json_option, reply
from services.cli.terminal.times import Moment
from services.cli.terminal.words import visible
from services.rollout.requests import ask
from services.rollout.status import record_at, rollout_status
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings, load_settings


@click.command("rollout")
@click.argument("version")
@click.option(
    "--plan",
    type=INPUT_FILE,
    help="Steps and guards in TOML.  [default: shadow, then 1, 5, 25 and 100 % of the cards]",
)
@person_options("recorded in the audit")
@click.option("--why", required=True, help="Reason; recorded in the audit.")
@home_option
@json_option
def rollout_version(
    version: str, plan: Path | None, person: str | None, by: str | None, why: str, home: Path, as_json: bool
) -> None:
    """Roll a version out step by step beside the live one. It needs who may approve; a broken guard undoes it by itself."""
    settings = load_settings(home)
    text = _plan_text(plan) if plan is not None else None
    who = signing_name(settings.access_dir, person, by)
    answer = ask(
        settings, "rollout", MODEL, version, person=who, by=by, why=why, plan=text, now=datetime.now(UTC)
    )
    run = answer["run"]
    lines = [
        f"{MODEL} {version} is rolled out beside {answer['champion']}: {len(run['plan']['steps'])} steps"
    ]
    lines += [f"  {number}. {_step(step)}" for number, step in enumerate(run["plan"]["steps"], 1)]
    lines.append("Next: tollgate rollout status")
    reply(answer, as_json, lines)


@click.command("at")
@click.argument("time", type=Moment())
@home_option
@json_option
def at_time(time: datetime, home: Path, as_json: bool) -> None:
    """Show which version served which share at a moment (RFC 3339), with its thresholds, rules and lists; from the audit."""
    settings = load_settings(home)
    record = record_at(settings, MODEL, time)
    if record is None:
        answer: dict[str, Any] = {"model": MODEL, "at": time.isoformat(), "state": None, "arms": {}}
        reply(answer, as_json, f"no model was live at {time.isoformat()}")
        return
    arms = {
        arm: {"version": version, "share": record.traffic.get(arm, 0.0), **_policy(settings, version)}
        for arm, version in record.arms.items()
    }
    answer = {
        "model": MODEL, "at": time.isoformat(), "state": record.state, "since": record.since.isoformat(), "sequence": record.sequence,
        "approved_by": record.approved_by, "why": record.why, "reviewed": record.reviewed,
        "shadow": record.arms.get("challenger") if record.shadow else None, "arms": arms,
    }  # fmt: skip
    lines = [
        f"{MODEL} at {time.isoformat()}: {record.state} since {answer['since']} (by {record.approved_by}: {record.why})"
    ]
    for arm, one in arms.items():
        beside = ", scoring in the shadow" if arm == "challenger" and record.shadow else ""
        lines.append(
            f"  {arm:<10} {one['version']:<10} {one['share']:>6.1%} of the cards{beside}; {_told_policy(one)}"
        )
    reply(answer, as_json, map(visible, lines))


@click.group(cls=FullHelpGroup)
def rollout() -> None:
    """Follow a rollout, pause and resume it, take its next step, or undo it."""


@rollout.command()
@home_option
@json_option
def status(home: Path, as_json: bool) -> None:
    """Show the rollout under way, or the last one: step, shares, checks, history."""
    found = rollout_status(load_settings(home), MODEL)
    reply(found, as_json, map(visible, _status(found)))


def _request_command(action: Action, text: str) -> None:
    @rollout.command(action, help=text)
    @home_option
    @json_option
    @person_options("recorded in the audit")
    @click.option("--why", required=True, help="Reason; recorded in the audit.")
    def command(home: Path, as_json: bool, person: str | None, by: str | None, why: str) -> None:
        settings = load_settings(home)
        who = signing_name(settings.access_dir, person, by)
        answer = ask(settings, action, MODEL, None, person=who, by=by, why=why, now=datetime.now(UTC))
        arms = ", ".join(
            f"{arm} {answer['arms'][arm]} {answer['traffic'].get(arm, 0):.0%}"
            for arm in (CHAMPION, CHALLENGER)
            if arm in answer["arms"]
        )
        reply(answer, as_json, f"{MODEL} is {answer['state']}: {arms}")


_request_command(
    "pause", "Stop at the current step; both models keep their shares, and guards still undo it."
)
_request_command("resume", "Go on after a pause, or past a step that waits for approval.")
_request_command("step", "Go to the next step now, whatever the checks say; after the last one it is done.")
_request_command("abort", "Undo it: the champion serves every card again, at once.")


def _plan_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        parse_plan(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    except PlanError as error:
        raise BadInput(f"{path}: {error}") from error
    return text


def _policy(settings: Settings, version: str) -> dict[str, Any]:
    """What a version's signed policy says; a ``problem`` where the bundle does not verify any more."""
    try:
        policy = verified_bundle(settings, version, any_catalogue=True).policy
    except BundleRefused as error:
        return {"problem": str(error)}
    return {
        "policy_version": policy.version,
        "thresholds": {
            "review": policy.review, "decline": policy.decline,
            "more": [{name: getattr(one, name) for name in one.__struct_fields__} for one in policy.thresholds],
        },
        "rules": [rule.name for rule in policy.rules],
        "lists": [found.name for found in policy.lists],
    }  # fmt: skip


def _told_policy(one: dict[str, Any]) -> str:
    if "problem" in one:
        return f"its policy cannot be shown: {one['problem']}"
    names = ", ".join([*one["rules"], *one["lists"]]) or "no rules or lists"
    limits = one["thresholds"]
    return f"policy {one['policy_version']}: review from {limits['review']:.4g}, decline from {limits['decline']:.4g}; {names}"


def _step(step: dict[str, Any]) -> str:
    share = f" {step['share']:.3g} of the cards" if "share" in step else ""
    words = [f"{step['min_decisions']:,} decisions"] if step.get("min_decisions") else []
    words += [f"{step['min_s']:g} s"] if step.get("min_s") else []
    return f"{step['kind']}{share}" + (f", at least {' and '.join(words)}" if words else "")


def _status(found: dict[str, Any]) -> list[str]:
    arms, traffic = found["arms"], found["traffic"]
    head = f"{found['model']} is {found['state']}"
    if found["steps"]:
        head += f", step {found['step']} of {len(found['steps'])} ({found['plan_kind']})"
    lines = [head + (f", paused: {found['pause']}" if found["pause"] else "")]
    for arm in ("champion", "challenger"):
        if arms[arm]:
            beside = ", in the shadow" if arm == "challenger" and found["shadow"] else ""
            lines.append(f"  {arm:<10} {arms[arm]:<10} {traffic[arm]:>6.1%} of the cards{beside}")
    if found["since"]:
        lines.append(f"  since {found['since']}, by {found['by']}: {found['why']}")
    if not found["loaded"]:
        lines.append("  the replicas load the challenger")
    if found["decisions"] is not None:
        lines.append(f"  {found['decisions']:,} decisions in this step")
    if found["checks"]:
        lines.append(
            f"  {'check':<18} {'result':<13} {'n':>8} {'estimate':>10} {'low':>10} {'high':>10}  limit"
        )
    for check in found["checks"]:
        figures = " ".join(f"{_figure(check[name]):>10}" for name in ("estimate", "low", "high"))
        lines.append(
            f"  {check['name']:<18} {check['result']:<13} {check['n']:>8,} {figures}  {check['limit']}"
        )
    for one in found["history"][-8:]:
        lines.append(f"  {one['at']}  {one['state']:<12} {one['by']}: {one['why']}")
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
