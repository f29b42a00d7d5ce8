"""Quix Streams: stateful processing over RocksDB with a changelog, its defaults otherwise.

python -m loadtest.peers.quix_state BOOTSTRAP TOPIC OUT EVENTS FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application

from loadtest.peers.meter import Meter
from loadtest.peers.windows import add, epoch_ms


def main(bootstrap: str, topic: str, out: str, events: str, folder: str) -> None:
    app = Application(
        broker_address=bootstrap, consumer_group="peer-quix", auto_offset_reset="earliest", state_dir=folder,
        loglevel="ERROR",
    )  # fmt: skip
    meter = Meter(int(events))

    def step(payment: dict[str, Any], state: Any) -> list[int]:
        kept = state.get("kept", default=[])
        windows = add(kept, epoch_ms(payment["event_time"]), payment["amount_minor"])
        state.set("kept", kept)
        meter.saw(windows)
        return windows

    payments = app.dataframe(app.topic(topic, value_deserializer="json"))
    payments.apply(step, stateful=True).to_topic(app.topic(out, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
