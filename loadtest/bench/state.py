"""Size of the state: stored bytes per entity of each kind, and Redis memory for a million cards.

    python -m loadtest.bench.state [--cards 20000] [--port-base N]

A processor writes four weeks of simulated payments to a separate Redis, whose keys and bytes are measured. The simulated world sets
the numbers of customers, merchants, devices and addresses per card, so memory includes them; it is proportional to the number of
cards.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from loadtest.bench.features_parts.kafka_and_redis import Parts, PartsError, running_parts
from loadtest.bench.features_parts.processor import ProcessorStuck, memory_rows, run_backlog
from loadtest.bench.features_parts.traffic import SEED, WARM_DAYS
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.traffic.simulator import create_world, history_table

CARDS = 20_000
MILLION = 1_000_000
#: kind of entity -> its column
COLUMNS = {
    "card": "card_id", "customer": "customer_id", "merchant": "merchant_id", "device": "device_id", "ip": "ip",
}  # fmt: skip
WHAT = "Redis memory for 1 M cards and all that they use"


def state_rows(cards: int, port_base: int = 0) -> Iterator[Row]:
    """Bytes by kind of entity, then memory for a million cards; ``cards`` are really stored."""
    end = datetime.now(UTC)
    table = history_table(create_world(SEED, cards), end - timedelta(days=WARM_DAYS), end)
    try:
        with running_parts(port_base) as parts:
            if parts.embedded:
                yield left_out(WHAT, "no Kafka here, only its mock", "stated")
                return
            yield from _stored(parts, table)
    except (PartsError, ProcessorStuck) as error:
        yield left_out(WHAT, str(error), "stated")


def _stored(parts: Parts, table: pa.Table) -> Iterator[Row]:
    empty_bytes = parts.store.info("memory")["used_memory"]
    run_backlog(parts, table)
    names = {kind: table[column].drop_null().unique().to_pylist() for kind, column in COLUMNS.items()}
    counts = ", ".join(f"{len(some):,} {kind}s" for kind, some in names.items())
    yield from memory_rows(parts, names, f"{WARM_DAYS} days of simulated payments")
    used_bytes = parts.store.info("memory")["used_memory"] - empty_bytes
    yield memory_row(
        used_bytes, len(names["card"]), f"{counts}; {table.num_rows:,} payments of {WARM_DAYS} days"
    )


def memory_row(used_bytes: float, cards: int, note: str) -> Row:
    """Memory of ``cards`` cards, scaled to a million."""
    return Row(WHAT, [used_bytes / cards * MILLION / 1e9], "GB", "stated", note=f"scaled from {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--port-base", type=int, default=0, help="default: any free block")
    args = parser.parse_args()
    shown(state_rows(args.cards, args.port_base))


if __name__ == "__main__":
    main()
