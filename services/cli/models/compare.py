"""``tollgate models compare``: two versions on the rows that neither has seen, with the whole live policy, and the gates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from features.currencies import amount_text
from models.bundle.content import MODEL
from models.bundle.registry import versions
from models.training.evaluation import compare as compare_models
from models.training.gates.judge import Judgement, judge, unseen
from services.cli.models.files import pick_version, scorer_of, settings_of
from services.cli.models.rebase import switched_off
from services.cli.terminal.exits import BadInput, CheckFailed
from services.cli.terminal.options import home_option, json_option, reply
from services.trainer.learning import contender, gather
from streams.runtime.bundles import verified_bundle

_RANKING = ("auc_roc", "average_precision", "card_precision_at_100", "calibration_error")


@click.command()
@home_option
@json_option
@click.argument("candidate", required=False)
@click.argument("live", required=False)
def compare(home: Path, as_json: bool, candidate: str | None, live: str | None) -> None:
    """Compare two versions on the labelled rows that neither has seen (default: the newest with the live one).

    Both decide with the whole policy: lists, rules on fields, thresholds by tenant and expected loss, and what people set in the live
    one goes with the other model. Money is shown by currency.
    """
    settings = settings_of(home)
    present = versions(settings.bundles_dir, MODEL)
    first = pick_version(settings, candidate or (present[-1] if present else None))
    second = pick_version(settings, live)
    if first == second:
        raise BadInput(f"{first} is the live version: name two different versions")
    scorers = scorer_of(settings, first), scorer_of(settings, second)
    ours, theirs = (contender(scorer) for scorer in scorers)
    data = gather(settings).data
    rows, since = unseen(data, ours, theirs)
    if not len(rows):
        raise CheckFailed(
            f"no labelled transaction is newer than what {first} and {second} were trained on: wait for labels"
        )
    policy = ours.policy.with_parts_of(theirs.policy)
    both = compare_models((ours.scored, policy), (theirs.scored, theirs.policy), rows, settings.review)
    judgement = judge(ours, theirs, data, now=datetime.now(UTC), protected=settings.declared.protected)
    lost = switched_off(settings, verified_bundle(settings, first))
    answer = {
        "versions": {"candidate": first, "live": second}, **both, "unseen_from_ms": since, "switched_off": lost,
        "gates": judgement.summary(),
    }  # fmt: skip
    lines = [*_figures(answer, len(rows)), *_money(answer), "", *gate_lines(judgement)]
    if lost:
        lines += [
            f"{first} would switch off what people set in the live policy:",
            *(f"  {part}" for part in lost),
            f"`tollgate models rebase {first}` publishes its model with the live policy",
        ]
    reply(answer, as_json, lines)


def gate_lines(judgement: Judgement) -> list[str]:
    """Each gate in a line, with what it found."""
    lines = [f"gates: {judgement.verdict}, on {judgement.rows:,} rows with {judgement.frauds:,} frauds"]
    lines += [f"  {check.result:<12} {check.name:<32} {check.why}" for check in judgement.checks]
    if judgement.hidden_groups:
        lines.append(f"  {judgement.hidden_groups} rates of small groups are not shown")
    return lines


def _figures(answer: dict[str, Any], rows: int) -> list[str]:
    sides = answer["candidate"], answer["live"]
    names = answer["versions"]
    lines = [f"{f'on {rows:,} rows unseen by both':<34} {names['candidate']:>10} {names['live']:>10}"]
    for name in _RANKING:
        lines.append(_line(name, *(side[name] for side in sides)))
    lines.append(_line("reviews a day", *(round(side["reviews_per_day"], 1) for side in sides)))
    lines.append(_line("that people can do", *(round(side["review_capacity_per_day"], 1) for side in sides)))
    for code in ("review", "decline"):
        for figure in ("precision", "recall"):
            lines.append(_line(f"{code} {figure}", *(side[code][figure] for side in sides)))
    return lines


def _money(answer: dict[str, Any]) -> list[str]:
    lost = answer["live"]["lost_currency"]
    lines = [
        _line(
            f"lost a day, {lost}",
            *(_amount(answer[side]["lost_per_day_minor"], lost) for side in ("candidate", "live")),
        )
    ]
    lines += [
        _line(f"{what}, {currency}", *(_amount(answer[side][key].get(currency), currency) for side in ("candidate", "live")))
        for key, what in (("fraud_caught_minor", "fraud caught"), ("fraud_missed_minor", "fraud missed"))
        for currency in answer["live"][key]
    ]  # fmt: skip
    return lines


def _amount(minor: int | None, currency: str) -> str | None:
    return None if minor is None else amount_text(minor, currency)


def _line(name: str, ours: Any, theirs: Any) -> str:
    return f"{name:<34} {_figure(ours):>10} {_figure(theirs):>10}"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
