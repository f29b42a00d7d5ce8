"""``tollgate models thresholds``: what each threshold would do, for up to four versions on the rows that none of them has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from models.training.dataset import DAY_MS
from models.training.gates.judge import newest_unseen
from models.training.threshold_effects import threshold_effects
from models.training.threshold_effects import thresholds as tried
from services.cli.models.files import pick_version, scorer_of, settings_of
from services.cli.terminal.exits import BadInput, CheckFailed
from services.cli.terminal.options import home_option, json_option, reply
from services.trainer.learning import contender, gather

MAX_VERSIONS = 4
_SHOWN = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@click.command()
@home_option
@json_option
@click.argument("given", metavar="[VERSIONS]", nargs=-1)
def thresholds(home: Path, as_json: bool, given: tuple[str, ...]) -> None:
    """Show what thresholds on the score alone would do: payments stopped a day, precision, recall, missed fraud (default: the live version).

    All versions score the same labelled rows, which none of them has seen.
    """
    settings = settings_of(home)
    named = list(dict.fromkeys(pick_version(settings, version) for version in given or (None,)))
    if len(named) > MAX_VERSIONS:
        raise BadInput(f"name at most {MAX_VERSIONS} versions")
    scorers = {version: scorer_of(settings, version) for version in named}
    contenders = {version: contender(scorer) for version, scorer in scorers.items()}
    rows, since = newest_unseen(gather(settings).data, contenders.values())
    if not len(rows):
        raise CheckFailed(
            f"no labelled transaction is newer than what {', '.join(named)} were trained on: wait for labels"
        )
    answer: dict[str, Any] = {
        "rows": len(rows), "frauds": rows.frauds, "unseen_from_ms": since,
        "days": round(float(rows.event_ms.max() - rows.event_ms.min()) / DAY_MS, 2),
        "thresholds": [round(float(at), 6) for at in tried()],
        "versions": {
            version: {
                "review": scorers[version].policy.review, "decline": scorers[version].policy.decline,
                **threshold_effects(rows, found.scored(rows)),
            }
            for version, found in contenders.items()
        },
    }  # fmt: skip
    reply(answer, as_json, _lines(answer))


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [
        f"{answer['rows']:,} labelled payments of {answer['days']:g} days, {answer['frauds']:,} frauds; by the score alone"
    ]
    lines.append(f"{'version':<12} {'from':>6} {'stopped a day':>14} {'precision':>10} {'recall':>8}  missed")
    at = np.array(answer["thresholds"])
    for version, found in answer["versions"].items():
        for wanted in _SHOWN:
            place = int(np.abs(at - wanted).argmin())
            share = [found[name][place] for name in ("precision", "recall")]
            shown = ["-" if value is None else f"{value:.3f}" for value in share]
            missed = ", ".join(
                f"{values[place]:,} {name} minor" for name, values in found["missed_minor"].items()
            )
            lines.append(
                f"{version:<12} {at[place]:>6.2f} {found['stopped_per_day'][place]:>14,.1f} {shown[0]:>10} {shown[1]:>8}  {missed or '0'}"
            )
    return lines
