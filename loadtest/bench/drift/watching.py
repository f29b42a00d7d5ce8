"""Runs the drift stream's rounds over a scenario's file: ``python -m loadtest.bench.drift.watching FOLDER NAME...``.

Runs in the drift stream's environment, with Alibi Detect. Prints one JSON object per scenario: rounds, alarms by finding and
severity, and for a drift the event time from its start to the first alarm.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from features.catalogue import INDEX, WIDTH
from models.bundle.reference import load_reference
from streams.drift.comparable import Baseline
from streams.drift.detectors import Detector, alibi_detectors
from streams.drift.rounds import DriftPolicy, Rounds

#: rows that reach the collector together
STEP = 100
DAY_MS = 86_400_000


def watched(folder: Path, name: str, detectors: list[Detector], policy: DriftPolicy) -> dict[str, Any]:
    """One scenario. An alarm begins when a finding is confirmed and ends when it is not."""
    rounds = Rounds(detectors, policy)
    rounds.use(Baseline.of(load_reference(folder / "reference.npz")))
    with np.load(folder / f"{name}.npz") as made:
        data = {key: made[key] for key in made.files}
    places = [INDEX[column] for column in data["columns"].tolist()]
    event_ms, since_ms = data["event_ms"], int(data["since_ms"])
    alarms: list[dict[str, Any]] = []
    last: dict[str, str] = {}
    tested, worst = 0, {}  # type: ignore[var-annotated]
    for first in range(0, len(event_ms), STEP):
        part = slice(first, first + STEP)
        matrix = np.full((len(event_ms[part]), WIDTH), np.nan, np.float32)
        matrix[:, places] = data["matrix"][part]
        rounds.collector.add(matrix, event_ms[part], data["cards"][part])
        rounds.collector.add_decisions(
            data["scores"][part], data["decisions"][part], event_ms[part], data["cards"][part]
        )
        done = rounds.next()
        if done is None:
            continue
        tested += 1
        at_ms = int(done.window.event_ms.max())
        for found in done.findings:
            effect = found.distance if found.psi is None else found.psi
            worst[found.name] = max(worst.get(found.name, 0.0), round(effect, 3))
        for finding, severity in done.confirmed.items():
            if severity != "none" and last.get(finding, "none") == "none":
                hours = round((at_ms - since_ms) / 3_600_000, 2)
                alarms.append({"finding": finding, "severity": severity, "hours_after": hours})
        last = dict(done.confirmed)
    days = (int(event_ms[-1]) - int(event_ms[0])) / DAY_MS
    return {
        "scenario": name,
        "days": round(days, 3),
        "payments": len(event_ms),
        "rounds": tested,
        "alarms": alarms,
        "largest_effect": worst,
    }


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    detectors, policy = alibi_detectors(), DriftPolicy()
    for name in names:
        print(json.dumps(watched(folder, name, detectors, policy)), flush=True)


if __name__ == "__main__":
    main()
