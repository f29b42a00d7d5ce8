"""The archive process: writes `features`, `decisions` and `outcomes` to Parquet, for Feast's offline store and the trainer.

It also recomputes and compares served features: of some cards (``streams.audit.parity.card_watch``), and at intervals of all entities
of some records (``streams.audit.parity.window``); and samples the books (``streams.audit.reconciler``).

Its position is in the manifest beside the files. The group's committed offsets may be ahead of the files; they only serve to show
lag.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Any

from features.store.redis_client import RespClient
from streams.archive.writer import Archive, ensure_schema_files
from streams.audit.parity.card_watch import ParityWatch
from streams.audit.parity.snapshot import look, store_window
from streams.audit.reconciler import Reconciler
from streams.contracts.invalid_event import InvalidEvent
from streams.log.offsets.source_ends import SourceEnds
from streams.log.other_catalogues import Layouts, stored_in
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import DeadLetters
from streams.runtime.process import start_process

logger = logging.getLogger(__name__)

#: bytes per fetch: large fetches cost a third less per record, and a delay of half a second does not matter here
FETCH_BYTES = 1_000_000
GROUP = "archive"


def main() -> None:
    """Run until SIGTERM; writes its buffer before it ends."""
    process = start_process("archive-0", signals=False)
    root = process.settings.archive_dir
    attributes = process.settings.declared
    ensure_schema_files(root, attributes)
    refused = DeadLetters(process.settings.kafka, process.name)

    def refuse(record: Any, text: str) -> None:
        refused.send(record, InvalidEvent("unreadable", "", text))

    # with retry: otherwise a record whose layout cannot be read while Redis is down would go to dead letters
    client = RespClient(process.settings.redis_address)
    layouts = Layouts(stored_in(client, with_retry=True), must_know=True)
    source_end = SourceEnds(process.settings.kafka)
    archive = Archive(root, refuse, layouts=layouts, source_end=source_end, attributes=attributes)
    watch = ParityWatch(layouts)
    window = store_window(process.settings, layouts)

    def handle(chunk: Chunk) -> None:
        batches = archive.add(chunk.records, monotonic())
        watch.add(batches)
        window.offer(batches)

    def tick() -> None:
        archive.flush_due(monotonic())
        look(window, monotonic())

    settings = process.settings
    reconciler = Reconciler(settings.kafka, settings.redis_address, settings.known_tenants)
    threading.Thread(target=reconciler.run, name="reconciler", daemon=True).start()
    run_chunk_app(
        process,
        GROUP,
        [FEATURES, DECISIONS, OUTCOMES],
        handle,
        archive.start_positions,
        tick=tick,
        on_stop=archive.close,
        fetch_min_bytes=FETCH_BYTES,
    )


if __name__ == "__main__":
    main()
