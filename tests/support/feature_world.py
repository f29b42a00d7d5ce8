"""A small world of payments, labels and declines, and what every catalogue entry gave for it when it was recorded.

``python -m tests.support.feature_world`` records. It refuses an entry that gives other values under an unchanged version.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.catalogue import FEATURES
from features.replay import replay

RECORDING = Path(__file__).parents[1] / "conformance" / "golden" / "feature_values.npz"
RECORD = "python -m tests.support.feature_world"
RAISE = "raise `version` of {name} in features/catalogue.py"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_760_000_000_000 // DAY * DAY
#: payments see the state of other cards' entities as of the start of their batch
BATCH = 2
Column = npt.NDArray[np.float32]


class Recording(NamedTuple):
    """``traffic``: a digest of what was replayed. By name: version, definition and values, float32 (rows,)."""

    traffic: str
    versions: dict[str, int]
    definitions: dict[str, str]
    columns: dict[str, Column]


def world() -> tuple[pa.Table, pa.Table]:
    """(history, labels) of 480 payments in 80 days, in order of arrival.

    One card pays so often that its payments are kept in groups and its lists run over; others are quiet. Payments come late by
    minutes to weeks, some twice; frauds are reported days later, some of them by mistake.
    """
    chance = random.Random(20)
    rows: list[dict[str, Any]] = []
    now = START
    for number in range(480):
        burst = 120 <= number < 320
        now += (
            int(chance.expovariate(1) * (3 * HOUR if burst else 8 * HOUR))
            if chance.random() < 0.5
            else 20_000
        )
        late = chance.choices(
            [0, chance.randrange(HOUR), chance.randrange(2 * DAY), chance.randrange(40 * DAY)], [85, 7, 5, 3]
        )[0]
        card = 0 if chance.random() < (0.85 if burst else 0.3) else chance.randrange(1, 5)
        country = chance.choice(["FR", "FR", "FR", "DE", "ES", "PL", "IT", None])
        decided = chance.choices(["approve", "decline", None], [80, 15, 5])[0]
        rows.append({
            "transaction_id": f"t-{number}", "card_id": f"card-{card}", "event_time": now - late, "arrival_time": now,
            "merchant_id": f"m-{chance.randrange(2) if chance.random() < 0.6 else chance.randrange(22)}",
            "customer_id": chance.choice([f"cu-{card // 2}", f"cu-{card // 2}", None]),
            "device_id": f"d-{chance.randrange(3) if chance.random() < 0.8 else chance.randrange(9)}" if chance.random() < 0.9 else None,
            "ip": f"198.51.100.{chance.randrange(3)}" if chance.random() < 0.8 else None,
            "amount_minor": chance.choice([chance.randrange(1, 700), chance.randrange(50_000), 1000 * chance.randrange(1, 90), 10**11]),
            "currency": chance.choice(["EUR", "EUR", "USD"]), "country": country,
            "channel": chance.choice(["pos", "ecom", "atm", "transfer", "moto", None]),
            "mcc": chance.choice(["5411", "5411", "6011", *(str(5000 + chance.randrange(12)) for _ in range(2)), None]),
            "latitude": 48.0 + chance.randrange(100) / 50 if chance.random() < 0.7 else None, "longitude": 2.0 + chance.random(),
            "decision": decided, "decided_at": now + 40 if decided else None,
        })  # fmt: skip
        if chance.random() < 0.03:
            rows.append({**chance.choice(rows[-5:]), "arrival_time": now})
    labels: list[dict[str, Any]] = []
    for row in rows:
        if chance.random() < 0.3:
            told = row["arrival_time"] + chance.randrange(HOUR, 9 * DAY)
            labels.append({"transaction_id": row["transaction_id"], "label": "fraud", "label_time": told})
            if chance.random() < 0.2:
                labels.append(
                    {"transaction_id": row["transaction_id"], "label": "legit", "label_time": told + DAY}
                )
    return _table(rows), _table(sorted(labels, key=lambda label: label["label_time"]))


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    for place, name in enumerate(table.column_names):
        if name.endswith(("_time", "_at")):
            table = table.set_column(place, name, table[name].cast(pa.timestamp("ms", "UTC")))
    return table


def compute() -> Recording:
    """What this code gives for the world, under the versions of its catalogue."""
    history, labels = world()
    values = replay(history, labels=labels, batch=BATCH)
    traffic = hashlib.sha256(repr((BATCH, history.to_pylist(), labels.to_pylist())).encode()).hexdigest()
    columns = {feature.name: values[:, place].copy() for place, feature in enumerate(FEATURES)}
    return Recording(
        traffic, {f.name: f.version for f in FEATURES}, {f.name: f.definition for f in FEATURES}, columns
    )


def problems(recorded: Recording, now: Recording) -> list[str]:
    """What has to be done before ``now`` may stand beside the recording, one line for each entry; none when they agree.

    Neighbouring numbers of single precision count as the same: kernels compute in double precision, whose last bits may depend on
    the processor and its mathematical library, and that may round a value to the neighbour. A kernel that computes something
    else moves some value further.
    """
    if recorded.traffic != now.traffic:
        return [f"the world itself has changed: record it ({RECORD}) with kernels that have not"]
    found = [
        f"{name} is not in the catalogue any more: {RECORD}"
        for name in recorded.versions.keys() - now.versions.keys()
    ]
    for name, version in now.versions.items():
        if name not in recorded.versions:
            found.append(f"{name} is new: {RECORD}")
        elif recorded.versions[name] != version:
            found.append(f"{name} is version {version} now, recorded is {recorded.versions[name]}: {RECORD}")
        elif recorded.definitions[name] != now.definitions[name]:
            found.append(f"{name} is defined by other facts than before: {RAISE.format(name=name)}")
        elif len(moved := np.flatnonzero(_apart(recorded.columns[name], now.columns[name]))):
            row = moved[0]
            found.append(
                f"{name} has other values in {len(moved)} rows, first {now.columns[name][row]} for {recorded.columns[name][row]} in row"
                f" {row}: {RAISE.format(name=name)}"
            )
    return found


def _apart(before: Column, now: Column) -> npt.NDArray[np.bool_]:
    steps = np.abs(before.view(np.int32).astype(np.int64) - now.view(np.int32).astype(np.int64))
    both_unknown = np.isnan(before) & np.isnan(now)
    apart: npt.NDArray[np.bool_] = ~both_unknown & ((steps > 1) | (np.isnan(before) != np.isnan(now)))
    return apart


def load(path: Path = RECORDING) -> Recording:
    with np.load(path) as stored:
        names = stored["names"].tolist()
        of_each = (stored[part] for part in ("versions", "definitions", "values"))
        versions, definitions, values = (dict(zip(names, list(part), strict=True)) for part in of_each)
        return Recording(str(stored["traffic"]), versions, definitions, values)


def save(recording: Recording, path: Path = RECORDING) -> None:
    np.savez_compressed(
        path, traffic=recording.traffic, names=list(recording.versions), versions=list(recording.versions.values()),
        definitions=[recording.definitions[name] for name in recording.versions],
        values=np.array([recording.columns[name] for name in recording.versions]),
    )  # fmt: skip


def record(now: Recording, path: Path = RECORDING) -> list[str]:
    """Replace the recording, unless an entry gives other values under its old version; those are returned."""
    refused = (
        [line for line in problems(load(path), now) if "raise `version`" in line] if path.exists() else []
    )
    if not refused:
        save(now, path)
    return refused


if __name__ == "__main__":
    refused = record(compute())
    print("\n".join(refused) or f"recorded {len(FEATURES)} entries in {RECORDING}")
    sys.exit(1 if refused else 0)
