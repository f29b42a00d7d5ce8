"""The archive process: `features`, `decisions` and `outcomes` to Parquet, for Feast's offline store and the trainer.

It also compares features of some cards, and now and then of all entities of some records, with its own
(``streams.audit.parity.card_watch``, ``streams.audit.parity.window``).

Its position is in the manifest beside the files, not in the group's committed offsets: those may run ahead of what is
on disk, and are for lag displays only.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from features.store.redis_client import RespClient
from streams.archive.writer import Archive, ensure_schema_files
from streams.audit.parity.card_watch import ParityWatch
from streams.audit.parity.snapshot import look, store_window
from streams.contracts.invalid_event import InvalidEvent
from streams.log.other_catalogues import Layouts, stored_in
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import DeadLetters
from streams.runtime.process import start_process

logger = logging.getLogger(__name__)

#: off the hot path: half a second later is soon enough, and large fetches cost a third less a record
FETCH_BYTES = 1_000_000
GROUP = "archive"


def main() -> None:
    """Run until SIGTERM; what is buffered is written before the process ends."""
    process = start_process("archive-0", signals=False)
    root = process.settings.archive_dir
    ensure_schema_files(root)
    refused = DeadLetters(process.settings.kafka, process.name)

    def refuse(record: Any, text: str) -> None:
        refused.send(record, InvalidEvent("unreadable", "", text))

    # a record that could not be looked up while Redis was away would go to dead letters: this process can wait
    client = RespClient(process.settings.redis_address)
    layouts = Layouts(stored_in(client, with_retry=True), must_know=True)
    archive = Archive(root, refuse, layouts=layouts)
    watch = ParityWatch(layouts)
    window = store_window(process.settings, layouts)

    def handle(chunk: Chunk) -> None:
        batches = archive.add(chunk.records, monotonic())
        watch.add(batches)
        window.offer(batches)

    def tick() -> None:
        archive.flush_due(monotonic())
        look(window, monotonic())

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
