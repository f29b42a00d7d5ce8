"""Cost of rules per batch: ours and, if installed, Polars, DuckDB and CEL on the same conditions.

    python -m loadtest.bench.rules [--quick]

CPU and wall time in microseconds a batch, the best of several rounds. All engines must find the same rows. The peers are not
requirements of the project: `pip install polars duckdb common-expression-language` in a separate environment.
"""

from __future__ import annotations

import argparse
import time

from loadtest.bench.rules_parts.engines import ENGINES, Absent, Run
from loadtest.bench.rules_parts.traffic import Table, conditions, make_table

ROWS = (1, 8, 30, 100, 256)
RULES = (10, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: does it still run?")
    rounds = 3 if parser.parse_args().quick else 15
    print("| engine | rules | " + " | ".join(f"{rows} rows, cpu/wall us" for rows in ROWS) + " |")
    print("|---|---|" + "---|" * len(ROWS))
    for count in RULES:
        texts = conditions(count)
        for name, make in ENGINES.items():
            try:
                run = make(texts)
            except Absent as error:
                print(f"| {name} | {count} | {error} |" + " |" * (len(ROWS) - 1))
                continue
            cells = ["{:.0f} / {:.0f}".format(*_cost(run, make_table(rows), rounds)) for rows in ROWS]
            print(f"| {name} | {count} | " + " | ".join(cells) + " |")
    _agree()


def _cost(run: Run, table: Table, rounds: int) -> tuple[float, float]:
    """(CPU, wall) microseconds of one batch: the best of ``rounds``, each long enough to be measured."""
    start = time.perf_counter()
    run(table)
    repeats = max(1, int(0.02 / max(time.perf_counter() - start, 1e-6)))
    found = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            run(table)
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(c for c, _ in found) / repeats * 1e6, min(w for _, w in found) / repeats * 1e6


def _agree() -> None:
    """Raises: SystemExit, when an engine that is here finds other rows than ours."""
    texts, table = conditions(50), make_table(256)
    wanted: list[int] | None = None
    for name, make in ENGINES.items():
        if name.startswith("Arrow"):
            continue
        try:
            found = make(texts)(table)
        except Absent:
            continue
        if wanted is not None and found != wanted:
            different = [text for text, a, b in zip(texts, wanted, found, strict=True) if a != b]
            raise SystemExit(f"{name} finds other rows than ours for: {different[:3]}")
        wanted = wanted or found
    print(f"all engines that are here find the same rows: {sum(wanted or [])} hits")


if __name__ == "__main__":
    main()
