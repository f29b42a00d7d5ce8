"""Feast alone: a card's eight window values read and pushed through the SDK, one row at a time and 256 at once.

    python -m loadtest.peers.feast_store REDIS CARDS ROWS FOLDER

``REDIS`` is host:port. What computes the windows in between is not part of it. Prints one line of JSON: ``row_us`` and
``batch_us`` (CPU of this process per row read and pushed), of equal shares.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource
from feast.types import Int64, String
from feast.value_type import ValueType

NAMES = [f"{what}_{window}" for what in ("count", "sum") for window in ("1h", "24h", "7d", "30d")]
WANTED = [f"windows:{name}" for name in NAMES]
BATCH = 256
SHARES = 6


def main(redis: str, cards: int, rows: int, folder: Path) -> None:
    store = _store(redis, folder)
    one = [_both(store, [f"card-{k % cards}"], k) for k in range(rows)]
    each = rows // SHARES
    row_us = [sum(one[k * each : (k + 1) * each]) * 1e6 / each for k in range(1, SHARES)]
    many = [_both(store, [f"card-{(k * BATCH + i) % cards}" for i in range(BATCH)], k) for k in range(SHARES)]
    print(json.dumps({"row_us": row_us, "batch_us": [s * 1e6 / BATCH for s in many[1:]]}), flush=True)


def _both(store: FeatureStore, cards: list[str], k: int) -> float:
    """CPU seconds of reading some cards and pushing their next values."""
    began = process_time()
    known = store.get_online_features(WANTED, [{"card_id": card} for card in cards]).to_dict()
    now = datetime.now(UTC)
    frame = {name: [(value or 0) + k for value in known[name]] for name in NAMES}
    store.push("windows_push", pd.DataFrame({"card_id": cards, "event_timestamp": now, **frame}))
    return process_time() - began


def _store(redis: str, folder: Path) -> FeatureStore:
    config = {
        "project": "peer",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": {"type": "redis", "connection_string": redis},
        "offline_store": {"type": "dask"},
        "entity_key_serialization_version": 3,
    }
    # JSON is YAML too
    (folder / "feature_store.yaml").write_text(json.dumps(config))
    source = PushSource(
        name="windows_push",
        batch_source=FileSource(
            name="log", path=str(folder / "log.parquet"), timestamp_field="event_timestamp"
        ),
    )
    card = Entity(name="card", join_keys=["card_id"], value_type=ValueType.STRING)
    schema = [Field(name="card_id", dtype=String), *(Field(name=name, dtype=Int64) for name in NAMES)]
    view = FeatureView(name="windows", entities=[card], ttl=timedelta(days=60), schema=schema, source=source)
    store = FeatureStore(repo_path=str(folder))
    store.apply([card, source, view])
    return store


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
