"""The drift process, in its own environment (Alibi Detect needs NumPy 1). Wiring only."""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC, datetime

from features.store.redis_client import RespClient
from streams.access.signed_record import Signed, headers
from streams.contracts.drift import DriftRow
from streams.contracts.retraining import RetrainingRequest
from streams.contracts.text.json_encoding import encode
from streams.drift.detectors import alibi_detectors
from streams.drift.live_reference import LiveModel
from streams.drift.watch import DriftWatch
from streams.log.other_catalogues import Layouts, stored_in
from streams.log.topics import DECISIONS, DRIFT, FEATURES, RETRAINING
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.chunk.pacing import Pacing
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.process import start_process
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)

#: not on the hot path: half a second of delay does no harm, and large fetches cost a third less per record
FETCH_BYTES = 1_000_000
GROUP = "drift"
#: two chunks a second; above about 2,000 decisions a second only a sample is read, because only a sample is kept
PACING, SAMPLE_ABOVE = Pacing(chunk_interval_s=0.5), 2_000
MODEL = "fraud"
DELIVERY_S = 30.0
STORE_WITHIN_S = 1.0
LOOK_EVERY_S = 3.0


def main() -> None:
    """Run until SIGTERM."""
    # lowest priority: drift may be late, and must never slow a decision down
    os.nice(5)
    process = start_process("drift-0", signals=False)
    producer = new_producer(process.settings.kafka, process.name)
    live = LiveModel(process.settings, MODEL)

    def publish(rows: list[DriftRow], request: RetrainingRequest | None) -> None:
        for row in rows:
            producer.produce(DRIFT.name, key=row.detector, value=encode(row))
        if request is not None:
            record = _signed(process.settings, request)
            producer.produce(RETRAINING.name, key=request.model, value=record.value, headers=headers(record))
        flush(producer, DELIVERY_S)

    layouts = Layouts(stored_in(RespClient(process.settings.redis_address, STORE_WITHIN_S)))
    watch = DriftWatch(
        MODEL, alibi_detectors(), publish, process.settings.root / "drift" / "requests.json", layouts
    )
    looked_s = 0.0

    def handle(chunk: Chunk) -> None:
        add = watch.add_features if chunk.topic == FEATURES.name else watch.add_decisions
        add(chunk.records, time.time())

    def tick() -> None:
        nonlocal looked_s
        now_s = time.time()
        if now_s - looked_s >= LOOK_EVERY_S:
            looked_s = now_s
            found = live.look()
            if found is not None:
                logger.info("drift is tested against the reference of %s %s", MODEL, found[0])
                watch.use_model(*found)
        watch.tick(now_s)

    run_chunk_app(
        process,
        GROUP,
        [FEATURES, DECISIONS],
        handle,
        tick=tick,
        fetch_min_bytes=FETCH_BYTES,
        pacing=PACING,
        sample_above=SAMPLE_ABOVE,
    )


def _signed(settings: Settings, request: RetrainingRequest) -> Signed:
    """The request with the signature of the drift service."""
    # imported here: a few times a month a request needs the cryptography library
    from streams.access.identity import service
    from streams.access.signatures import signed

    identity = service(settings.access_dir, "drift", datetime.now(UTC))
    return signed(identity, RETRAINING.name, encode(request))


if __name__ == "__main__":
    main()
