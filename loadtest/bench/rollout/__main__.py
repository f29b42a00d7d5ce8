"""The rollout table: ``python -m loadtest.bench.rollout``; exit code 1 if an identical model is rolled back more than once in a hundred
rollouts, or if a harmful one is not undone before it decided 2 % of a day's payments."""

from __future__ import annotations

import argparse
import sys

from loadtest.bench.rollout.table import run, shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rollouts", type=int, default=100, help="of an identical model; fewer of the others"
    )
    parser.add_argument("--payments", type=int, default=1_000_000, help="of the day")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    lines = run(args.rollouts, args.payments, args.seed)
    print(shown(lines, args.payments))
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
