"""Plain Faust: a table that keeps each card's payments, or its own hopping windows; a changelog behind each table.

python -m loadtest.peers.faust_tables BOOTSTRAP TOPIC OUT EVENTS FOLDER [kept | hopping]
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import faust

from loadtest.peers.meter import Meter
from loadtest.peers.windows import add, epoch_ms

PARTITIONS = 2
#: window and step of the hopping tables, in hours: a payment falls into as many of them as steps fit
HOPPING = ((1, 1 / 12), (24, 1), (7 * 24, 8), (30 * 24, 24))


class Payment(faust.Record):
    """The fields of a transaction that count here; Faust takes no notice of the others."""

    card_id: str
    amount_minor: int
    event_time: str


def main(bootstrap: str, topic: str, out: str, events: str, folder: str, how: str = "kept") -> None:
    app = faust.App(
        f"peer-faust-{how}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=folder,
        web_enabled=False,
        topic_disable_leader=True,
        topic_replication_factor=1,
        topic_partitions=PARTITIONS,
    )
    source = app.topic(topic, value_type=Payment)
    target = app.topic(out, value_serializer="json")
    meter = Meter(int(events))
    (_kept if how == "kept" else _hopping)(app, source, target, meter)
    faust.Worker(
        app, loglevel="ERROR", redirect_stdouts=False, quiet=True, workdir=folder
    ).execute_from_commandline()


def _kept(app: Any, source: Any, target: Any, meter: Meter) -> None:
    table = app.Table("kept", default=list, partitions=PARTITIONS)

    async def step(payments: Any) -> None:
        async for payment in payments:
            kept = table[payment.card_id]
            windows = add(kept, epoch_ms(payment.event_time), payment.amount_minor)
            table[payment.card_id] = kept
            await target.send(key=payment.card_id, value=windows)
            meter.saw(windows)

    app.agent(source)(step)


class _EventTime:
    """What Faust calls a field: where a table finds an event's time, in seconds."""

    def getattr(self, payment: Payment) -> float:
        return epoch_ms(payment.event_time) / 1000


def _hopping(app: Any, source: Any, target: Any, meter: Meter) -> None:
    """Counts and sums of whole steps: off by up to one step at the window's far end, so not compared with the others'."""
    counts, sums = (
        [_hopping_table(app, f"{what}_{hours}h", hours, step) for hours, step in HOPPING]
        for what in ("count", "sum")
    )

    async def step(payments: Any) -> None:
        async for payment in payments:
            card = payment.card_id
            for table in counts:
                table[card] += 1
            for table in sums:
                table[card] += payment.amount_minor
            windows = [table[card].value() for table in (*counts, *sums)]
            await target.send(key=card, value=windows)
            meter.saw(windows)

    app.agent(source)(step)


def _hopping_table(app: Any, name: str, hours: int, step_hours: float) -> Any:
    table = app.Table(name, default=int, partitions=PARTITIONS)
    kept_for = timedelta(hours=hours + 24)
    windows = table.hopping(timedelta(hours=hours), timedelta(hours=step_hours), expires=kept_for)
    return windows.relative_to_field(_EventTime())


if __name__ == "__main__":
    main(*sys.argv[1:])
