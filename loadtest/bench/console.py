"""What the console costs for each decision, by the share of decisions that are not approved: in process, without Kafka.

    python -m loadtest.bench.console

CPU of one thread, the median of several runs of 20,000 decisions in the batches that come at 10,000 a second. Reading from Kafka comes on top.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from loadtest.bench.harness import machine_speed
from models.decision import Decision, Reason
from services.console.kept.database import Database
from services.console.kept.taking import Taker
from streams.log.records import HEADER_ENTITIES, DecidedEntities, encode_entities

DECISIONS_EACH, BATCH, RUNS = 20_000, 2_000, 5
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
_AT = datetime(2026, 12, 1, tzinfo=UTC)
_REASONS = [
    Reason(f"CARD_VELOCITY_{n}H", f"{n + 3} payments in the last {n} hours", 1.42 - n / 4)
    for n in range(1, 6)
]


class _Record:
    """A record of `decisions` as confluent-kafka gives it."""

    def __init__(self, offset: int, value: bytes, at_ms: int, header: bytes) -> None:
        self._offset, self._value, self._at_ms, self._header = offset, value, at_ms, header

    def topic(self) -> str:
        return "decisions"

    def partition(self) -> int:
        return self._offset % 2

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._at_ms

    def headers(self) -> list[tuple[str, bytes]]:
        return [(HEADER_ENTITIES, self._header)]


def records(share: float, first: int) -> Iterator[_Record]:
    """Decisions of which this share, evenly spread, is not approved; 10,000 a second."""
    begin_ms = int(_AT.timestamp() * 1000)
    for n in range(first, first + DECISIONS_EACH):
        stopped = int((n + 1) * share) > int(n * share)
        decision = Decision(
            transaction_id=f"tx-{n:08x}", decision="review" if stopped else "approve", status="scored", score=0.71 if stopped else 0.02,
            reasons=_REASONS if stopped else [], model="fraud", model_version="1.4.0", policy_version="12", features_version="c1a9f24e",
            arm="champion", shadow={}, rules=["amount-over-limit"] if stopped and n % 3 == 0 else [], event_time=_AT, received_at=_AT,
            decided_at=_AT, latency_ms=5 + n % 40, card_id=f"card-{n % 5000}", tenant="default",
        )  # fmt: skip
        paid = DecidedEntities(
            f"m-{n % 900}", f"d-{n % 4000}", f"203.0.113.{n % 250}", None, None, 1299 + n, "EUR", "ecom", "FR"
        )
        yield _Record(n, msgspec.json.encode(decision), begin_ms + n // 10, encode_entities(paid))


def measure(share: float) -> list[float]:
    """Microseconds of CPU a decision, of each run; a new file each time."""
    out = []
    with tempfile.TemporaryDirectory(prefix="tollgate-console-bench-") as folder:
        taker = Taker(Database(Path(folder) / "console.sqlite"))
        for run in range(RUNS + 1):
            made: list[Any] = list(records(share, run * DECISIONS_EACH))
            begin = time.thread_time()
            for at in range(0, len(made), BATCH):
                taker.take(made[at : at + BATCH], _AT.timestamp())
            out.append((time.thread_time() - begin) * 1e6 / len(made))
    # the first fills caches
    return out[1:]


@click.command()
def main() -> None:
    """Print the cost of a decision by the share that is not approved."""
    looks = [machine_speed.measure()]
    click.echo(
        f"{'not approved':>12} {'us a decision':>14} {'lowest':>8} {'highest':>8} {'us each kept':>13}"
    )
    nothing = statistics.median(measure(0.0))
    for share in SHARES:
        found = measure(share)
        middle = statistics.median(found)
        each = f"{(middle - nothing) / share:13.0f}" if share else f"{'–':>13}"
        click.echo(f"{share:12.0%} {middle:14.2f} {min(found):8.2f} {max(found):8.2f} {each}")
    looks.append(machine_speed.measure())
    click.echo(machine_speed.describe(looks))


if __name__ == "__main__":
    main()
