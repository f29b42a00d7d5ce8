"""A worker of ``run_chunk_app`` that writes each chunk down, one JSON object a line: Faust wants a process of its own.

``python -m tests.support.chunk_worker HOME GROUP TOPIC NAME FILE [START]``; START: partition to offset, as JSON. A record with the value
DEADLY ends it, as a crash of native code would.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from streams.log.topics import ALL
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Chunk, Positions
from streams.runtime.process import Process
from streams.runtime.settings import load_settings

DEADLY = b"deadly"


def text(raw: bytes | None) -> str | None:
    """Bytes as JSON can hold them."""
    return None if raw is None else raw.decode("latin-1")


def written(record: Any) -> dict[str, Any]:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": text(record.key),
        "value": text(record.value),
        "headers": [[name, text(value)] for name, value in record.headers],
        "timestamp": record.timestamp,
    }


def main() -> None:
    home, group, topic, name, path, *start = sys.argv[1:]
    places = {(topic, int(p)): int(o) for p, o in json.loads(start[0]).items()} if start else None

    def starts(assigned: list[tuple[str, int]]) -> Positions:
        return {place: offset for place, offset in (places or {}).items() if place in assigned}

    with Path(path).open("a") as file:

        def handle(chunk: Chunk) -> None:
            if any(record.value == DEADLY for record in chunk.records):
                os._exit(9)
            line = {
                "starts": {tp.partition: offset for tp, offset in chunk.starts.items()},
                "positions": {tp.partition: offset for tp, offset in chunk.positions.items()},
                "records": [written(record) for record in chunk.records],
            }
            file.write(json.dumps(line) + "\n")
            file.flush()

        run_chunk_app(
            Process(load_settings(home), name, threading.Event()),
            group,
            [t for t in ALL if t.name == topic],
            handle,
            starts if places is not None else None,
        )


if __name__ == "__main__":
    main()
