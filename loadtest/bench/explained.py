"""The first minute after `tollgate up` with nearly every decision a review, and so explained, as under an attack:

    python -m loadtest.bench.explained [--rate 1000] [--seconds 60] [--reviewed 0.9] [--port-base N]

Starts its own stack with a first model. Publishes that model again with a review threshold that the given share of its reference
rows exceeds, and approves it. Then restarts the stack and sends traffic as soon as the stack reports ready, to show that nothing is
cold by then. Latency is the time between two Kafka timestamps: of the transaction and of its decision.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator

import numpy as np

from features.catalogue import WIDTH
from loadtest.bench.harness.running_stack import StackError, running_stack, tollgate
from loadtest.bench.harness.table import Row, conditions, left_out, markdown
from loadtest.bench.models.republished import publish_again
from loadtest.bench.stream import RunFailed, Runs, figure_rows, simulate
from models.scoring.scorer import Scorer
from streams.runtime.bundles import verified_bundle
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
    print(markdown(list(explained_rows(args.seconds, args.rate, args.reviewed, args.port_base))))
    print(f"\n{conditions()}")


def explained_rows(
    seconds: float, rate: int = RATE, reviewed: float = REVIEWED, port_base: int = PORT_BASE
) -> Iterator[Row]:
    """The table's rows; if nothing could be measured, one row with the reason."""
    name = f"first {seconds:g} s after up at {rate:,}/s, {reviewed:.0%} reviewed"
    folder = tempfile.mkdtemp(prefix="tollgate-explained-")
    try:
        with running_stack(None, port_base, folder=folder) as settings:
            listed = json.loads(tollgate(folder, "models", "list", "--json"))
            [live] = [row["version"] for row in listed if row["state"] == "live"]
            version = publish_reviewing(settings, live, reviewed)
            tollgate(folder, "models", "approve", version, "--by", "bench", "--why", "bench of explanations")
            tollgate(folder, "down")
            tollgate(folder, "up", "--port-base", str(port_base), "--wait", f"{UP_WITHIN_S:g}")
            summary = simulate(folder, rate, seconds, 41)
    except (StackError, RunFailed) as error:
        yield left_out(f"{name}: p99", str(error), "100")
        return
    yield from figure_rows(Runs(rate, [summary]), name, {"p99": ("100", ""), "degraded": ("1", "")})


def publish_reviewing(settings: Settings, live: str, reviewed: float) -> str:
    """Publish ``live`` again under the next version, awaiting approval, with a policy that reviews this share of its reference."""
    bundle = verified_bundle(settings, live)
    scorer = Scorer(bundle, measure=False)
    rows = np.full((len(bundle.reference.matrix), WIDTH), np.nan, np.float32)
    rows[:, scorer.columns] = bundle.reference.matrix
    threshold = float(np.quantile(scorer.score(rows), 1 - reviewed))
    return publish_again(settings, bundle, "bench of explanations", review=threshold, decline=1.0)


if __name__ == "__main__":
    main()
