"""How fast traffic is made and encoded on one core: ``python -m loadtest.bench.simulator [ROWS]`` prints a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from loadtest.traffic.simulator import create_world, history_table
from streams.mapping.encoding import encode_live_tails, encode_transactions

END = datetime(2026, 11, 1, tzinfo=UTC)


def main(rows: int) -> None:
    """Print rows a second of each step for worlds of three sizes."""
    print(f"{'cards':>9} {'step':<22} {'rows':>9} {'s':>7} {'rows/s':>10}")
    for cards in (2_500, 50_000, 500_000):
        world = _report(cards, "create the world", cards, partial(create_world, 1, cards))
        generate = partial(history_table, world, END - timedelta(days=30), END, count=rows)
        table = _report(cards, "generate", rows, generate)
        _report(cards, "encode as JSON", rows, partial(encode_transactions, table))
        _report(cards, "encode live tails", rows, partial(encode_live_tails, table))


def _report(cards: int, step: str, rows: int, call: Callable[[], Any]) -> Any:
    began = time.process_time()
    result = call()
    took = time.process_time() - began
    print(f"{cards:>9,} {step:<22} {rows:>9,} {took:>7.2f} {rows / took:>10,.0f}", flush=True)
    return result


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
