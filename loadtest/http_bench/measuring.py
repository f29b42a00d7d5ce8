"""Offers in a process of their own, and the search for the highest rate that an edge bears."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

from loadtest.http_bench.offer import DRAIN_S, Offer, Outcome

#: making the requests before the clock starts
PREPARE_S = 120.0
P99_MS, OK_SHARE = 50.0, 0.999
#: shares of the closed loop's rate that are offered; the last one that is borne counts
LADDER = (0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1)


class OfferError(Exception):
    """The generator ended without a result."""


def run_offer(offer: Offer) -> Outcome:
    """Offer from another process, so that ours takes no part of its core.

    Raises:
        OfferError: no result in time.
    """
    command = [
        sys.executable, "-m", "loadtest.http_bench.offer", "--url", offer.url, "--rate", str(offer.rate),
        "--seconds", str(offer.seconds), "--batch", str(offer.batch), "--connections", str(offer.connections),
        "--deadline-ms", str(offer.deadline_ms), *(["--each"] if offer.each else []),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=offer.seconds + DRAIN_S + PREPARE_S
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise OfferError(f"the generator ended without a result: {error}") from error
    return Outcome(**json.loads(done.stdout))


def bears(outcome: Outcome, p99_ms: float = P99_MS) -> bool:
    """Whether nearly all were decided, and 99 of 100 of them within ``p99_ms`` of when they were due."""
    ok = outcome.statuses.get("200", 0)
    return ok >= OK_SHARE * outcome.offered and outcome.ok_ms.get("p99", float("inf")) <= p99_ms


def highest_rate(offer: Offer, peak: float) -> tuple[float, list[tuple[float, Outcome]]]:
    """Requests a second decided at the highest step of the ladder that is borne (0: none), and all steps."""
    best, steps = 0.0, []
    for share in LADDER:
        outcome = run_offer(replace(offer, rate=share * peak))
        steps.append((share * peak, outcome))
        if bears(outcome):
            best = outcome.ok_rate
        elif best:
            break
    return best, steps
