"""The drift table: ``python -m loadtest.bench.drift [--months 3] [--seed 1]``; exit code 1 if it does not hold.

Months of unchanged traffic, an hour right after ``tollgate up`` at 100 and 300 payments a second, and each of the simulator's drifts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from loadtest.bench.drift.table import run, shown
from loadtest.bench.drift.traffic import Maker, Scenario
from models.training.learners.parameters import Parameters

LIVE_CARDS = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="a month, fewer cards, ten minutes of live traffic"
    )
    args = parser.parse_args()
    maker = Maker(args.seed, Parameters(rounds=60), *((1_200,) if args.quick else ()))
    with tempfile.TemporaryDirectory() as folder:
        lines = run(maker, scenarios(1.0 if args.quick else args.months, args.quick), Path(folder))
    print(shown(lines))
    return 0 if all(line.holds for line in lines) else 1


def scenarios(months: float, quick: bool) -> list[Scenario]:
    """What the table is about."""
    days, hour = (5.0, 1 / 6 / 24) if quick else (3.0, 1 / 24)
    return [
        Scenario("unchanged", 30 * months),
        *(
            Scenario(f"live-{rate}-a-second", hour, per_s=rate, cards=LIVE_CARDS)
            for rate in ((300,) if quick else (100, 300))
        ),
        *(Scenario(drift, days, drift, 1.0, 1.0) for drift in ("amounts", "channels", "country")),
        Scenario("mcc-turns-empty", days, empty="mcc", drift_after_days=1.0),
    ]


if __name__ == "__main__":
    sys.exit(main())
