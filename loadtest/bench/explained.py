"""The first minute after `tollgate up` with nearly every decision a review, and so explained, as under an attack:

    python -m loadtest.bench.explained [--rate 1000] [--seconds 60] [--reviewed 0.9] [--port-base N]

Starts its own stack with a first model. Publishes that model again with a review threshold that the given share of its reference
rows exceeds, and approves it. Then restarts the stack and sends traffic as soon as the stack reports ready, to show that nothing is
cold by then. Latency is the time between two Kafka timestamps: of the transaction and of its decision.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from features.catalogue import WIDTH
from loadtest.bench.harness.running_stack import TOLLGATE, StackError, running_stack
from loadtest.bench.harness.table import Row, conditions, left_out, markdown
from loadtest.bench.stream import RunFailed, simulate
from models.bundle.content import MODEL, load_bundle, publish
from models.bundle.registry import VersionState, next_version, write_state
from models.evidence.pack import made_pack, write_pack
from models.scoring.scorer import Scorer
from streams.runtime.settings import Settings

PORT_BASE = 26600
RATE, SECONDS, REVIEWED = 1_000, 60.0, 0.9
UP_WITHIN_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--reviewed", type=float, default=REVIEWED, help="approximate share of reviewed transactions"
    )
    parser.add_argument("--port-base", type=int, default=PORT_BASE)
    args = parser.parse_args()
    print(markdown(list(explained_rows(args.rate, args.seconds, args.reviewed, args.port_base))))
    print(f"\n{conditions()}")


def explained_rows(rate: int, seconds: float, reviewed: float, port_base: int) -> Iterator[Row]:
    """The table's rows; if nothing could be measured, one row with the reason."""
    name = f"first {seconds:g} s after up at {rate:,}/s, {reviewed:.0%} reviewed, "
    folder = tempfile.mkdtemp(prefix="tollgate-explained-")
    try:
        with running_stack(None, port_base, folder=folder) as settings:
            listed = json.loads(_tollgate(folder, "models", "list", "--json"))
            [live] = [row["version"] for row in listed if row["state"] == "live"]
            version = publish_reviewing(settings, live, reviewed)
            _tollgate(folder, "models", "approve", version, "--by", "bench", "--why", "bench of explanations")
            _tollgate(folder, "down")
            _tollgate(folder, "up", "--port-base", str(port_base), "--wait", f"{UP_WITHIN_S:g}")
            summary = simulate(folder, rate, seconds, 41)
    except (StackError, RunFailed, subprocess.SubprocessError) as error:
        yield left_out(f"{name}p99 from transaction to decision in Kafka", str(error), "100")
        return
    yield from summary_rows(name, summary)


def summary_rows(name: str, summary: dict[str, Any]) -> list[Row]:
    """The rows of one run, from the summary of ``tollgate simulate --json``."""
    latency, decided = summary["latency_ms"], summary["decided"]
    note = f"p50 {latency['p50']:.0f}, p99.9 {latency['p999']:.0f}, longest {latency['max']:.0f} ms"
    share = 100 * (1 - decided["scored"] / max(1, sum(decided.values())))
    lost = summary["missing"] + summary["duplicated"]
    return [
        Row(
            f"{name}p99 from transaction to decision in Kafka",
            [latency["p99"]],
            "ms",
            "100",
            note=note,
        ),
        Row(f"{name}not decided in full", [share], "%", "1", note=f"missing or doubled: {lost}"),
    ]


def publish_reviewing(settings: Settings, live: str, reviewed: float) -> str:
    """Publish ``live`` again under the next version, awaiting approval, with a policy that reviews this share of its reference."""
    bundle = load_bundle(settings.bundles_dir / MODEL / live, settings.keys_dir / "trusted")
    scorer = Scorer(bundle, measure=False)
    rows = np.full((len(bundle.reference.matrix), WIDTH), np.nan, np.float32)
    rows[:, scorer.columns] = bundle.reference.matrix
    threshold = float(np.quantile(scorer.score(rows), 1 - reviewed))
    version = next_version(settings.bundles_dir, MODEL)
    policy = msgspec.structs.replace(bundle.policy, version=version, review=threshold, decline=1.0)
    now = datetime.now(UTC)
    publish(dataclasses.replace(bundle, policy=policy), settings.bundles_dir, settings.keys_dir, model=MODEL, version=version, created_at=now)  # fmt: skip
    made = load_bundle(settings.bundles_dir / MODEL / version, settings.keys_dir / "trusted")
    write_pack(settings.bundles_dir, settings.keys_dir, made_pack(made, bundle, None, now=now))
    write_state(settings.bundles_dir, MODEL, version, VersionState(state="awaiting approval", since=now, by="bench", why="bench of explanations"))  # fmt: skip
    return version


def _tollgate(home: str, *args: str) -> str:
    command = [TOLLGATE, *args, "--home", home]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=UP_WITHIN_S + 60
    ).stdout


if __name__ == "__main__":
    main()
