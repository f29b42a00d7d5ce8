"""Bytewax: a stateful map over a keyed stream, its recovery store (SQLite) switched on, a snapshot each 10 seconds.

python -m loadtest.peers.bytewax_state BOOTSTRAP TOPIC OUT EVENTS FOLDER
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from loadtest.peers.meter import Meter
from loadtest.peers.windows import Kept, add, epoch_ms


def main(bootstrap: str, topic: str, out: str, events: str, folder: str) -> None:
    meter = Meter(int(events))

    def keyed(message: Any) -> tuple[str, tuple[int, int]]:
        payment = json.loads(message.value)
        return payment["card_id"], (epoch_ms(payment["event_time"]), payment["amount_minor"])

    def step(kept: Kept | None, payment: tuple[int, int]) -> tuple[Kept, list[int]]:
        kept = [] if kept is None else kept
        windows = add(kept, *payment)
        meter.saw(windows)
        return kept, windows

    def message_of(result: tuple[str, list[int]]) -> KafkaSinkMessage:
        return KafkaSinkMessage(result[0].encode(), json.dumps(result[1]).encode())

    flow = Dataflow("peer_bytewax")
    source = op.input("in", flow, KafkaSource([bootstrap], [topic]))
    windows = op.stateful_map("windows", op.map("keyed", source, keyed), step)
    op.output("out", op.map("message", windows, message_of), KafkaSink([bootstrap], out))
    init_db_dir(Path(folder), 1)
    run_main(flow, recovery_config=RecoveryConfig(folder), epoch_interval=timedelta(seconds=10))


if __name__ == "__main__":
    main(*sys.argv[1:])
