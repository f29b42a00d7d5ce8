"""Runs the load generator in its own process, and searches the highest rate that an edge sustains."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace

from loadtest.bench.http_load.offer import DRAIN_S, Offer, Outcome

#: making the requests before the clock starts
PREPARE_S = 120.0
P99_MS, OK_SHARE = 50.0, 0.999
#: shares of the closed loop's rate that are offered, until less is decided than before. Its few connections ask for less than
#: many callers do: what an edge can take was up to 1.7 times that
LADDER = (0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0)


class OfferError(Exception):
    """The generator ended without a result."""


def run_offer(offer: Offer) -> Outcome:
    """Run an offer in another process, so that this one does not use its core.

    Raises:
        OfferError: no result in time.
    """
    command = [
        sys.executable, "-m", "loadtest.bench.http_load.offer", "--url", offer.url, "--rate", str(offer.rate),
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


def bears(outcome: Outcome) -> bool:
    """Whether nearly all were decided, and 99 of 100 of them within P99_MS of when they were due."""
    ok = outcome.statuses.get("200", 0)
    return ok >= OK_SHARE * outcome.offered and outcome.ok_ms.get("p99", float("inf")) <= P99_MS


@dataclass
class Climb:
    """Steps of offered load (requests a second) with the outcome of each."""

    steps: list[tuple[float, Outcome]] = field(default_factory=list)

    @property
    def borne(self) -> Outcome | None:
        """The highest sustained step before the first that is not; failures at the lowest steps, during warm-up, do not count."""
        best = None
        for _, outcome in self.steps:
            if bears(outcome):
                best = outcome
            elif best is not None:
                break
        return best

    @property
    def peak(self) -> float:
        """Highest rate of decided requests at any step, requests a second."""
        return max(outcome.ok_rate for _, outcome in self.steps)

    @property
    def over(self) -> bool:
        """Whether the last step was beyond the peak; else more might have been decided."""
        return self.steps[-1][1].ok_rate < self.peak


def climb(offer: Offer, closed_rate: float) -> Climb:
    """Raise the rate by shares of the closed loop's rate, up to the first step that decides less than the one before."""
    found = Climb()
    for share in LADDER:
        found.steps.append((share * closed_rate, run_offer(replace(offer, rate=share * closed_rate))))
        # below what the closed loop got, it is the machine that stood still
        if share >= 1 and found.over:
            break
    return found
