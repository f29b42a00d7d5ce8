"""What one of two versions of the code makes of payments, records and bundles; run in each with the same folder.

``make WHO``: this code's own features records of the payments, its layout, and a bundle trained on its catalogue.
``read``: every record found, by turns of both versions, decided with each bundle; and archived.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from features.catalogue import CATALOGUE_HASH, NAMES
from features.replay import replay
from features.transaction import Transaction, from_ms
from models.bundle.content import BundleRefused, load_bundle
from models.decision import Decision
from models.scoring.scorer import Scorer
from services.scoring.model.serving import Serving
from services.scoring.stream.worker import StreamScorer
from streams.archive.writer import Archive
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts, aligned_rows, announcement, stored_in
from streams.runtime.settings import Settings
from tests.support.archive_samples import Record
from tests.support.bundle_samples import publish_sample
from tests.support.feature_batches import batch_of, decode_features, encode_features
from tests.support.parity_world import MemoryRedis

START_MS, STEP_MS, PAYMENTS = 1_760_000_000_000, 300_000, 40
VERSIONS = {"old": "1.0.0", "new": "1.1.0"}


def payments() -> list[Transaction]:
    return [
        Transaction(
            transaction_id=f"t-{n}", event_time=from_ms(START_MS + n * STEP_MS), card_id=f"c-{n % 3}",
            merchant_id=f"m-{n % 5}", customer_id=f"cu-{n % 2}", amount_minor=700 + 977 * (n % 11), currency="EUR",
        )
        for n in range(PAYMENTS)
    ]  # fmt: skip


def vectors(rows: list[Transaction]) -> Any:
    names = ("transaction_id", "card_id", "merchant_id", "customer_id", "amount_minor", "currency")
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in names}
    columns["event_time"] = pa.array([row.event_time for row in rows], pa.timestamp("ms", "UTC"))
    return replay(pa.table(columns), batch=1)


def make(folder: Path, who: str) -> None:
    rows = payments()
    records = [
        encode_features(
            FeatureRecord(
                catalogue=CATALOGUE_HASH, partition=0, offset=2 * n + (who == "new"), appended_ms=tx.event_ms, deadline_ms=0,
                missing=0, transaction=tx, event_ms=tx.event_ms, vector=vector.tobytes(), as_of=(-1,) * 5,
            )
        )
        for n, (tx, vector) in enumerate(zip(rows, vectors(rows), strict=True))
    ]  # fmt: skip
    (folder / f"{who}.records").write_bytes(msgspec.msgpack.encode(records))
    (folder / f"{who}.layout").write_bytes(msgspec.msgpack.encode(announcement()))
    publish_sample(folder, VERSIONS[who])


def read(folder: Path) -> dict[str, Any]:
    redis = MemoryRedis()
    values: list[bytes] = []
    for who in VERSIONS:
        redis.call([tuple(msgspec.msgpack.decode((folder / f"{who}.layout").read_bytes()))])
        values += msgspec.msgpack.decode((folder / f"{who}.records").read_bytes())
    records = sorted(map(decode_features, values), key=lambda record: record.offset)
    layouts = Layouts(stored_in(redis))  # type: ignore[arg-type]
    return {
        "catalogue": CATALOGUE_HASH,
        "decided": {version: decided(folder, version, records, layouts) for version in VERSIONS.values()},
        "archived": archived(folder, records, layouts),
    }


def decided(folder: Path, version: str, records: list[FeatureRecord], layouts: Layouts) -> Any:
    try:
        bundle = load_bundle(folder / "bundles/fraud" / version, folder / "keys/trusted")
    except BundleRefused as error:
        return str(error)
    scorer = Scorer(bundle, measure=False)
    live: Any = SimpleNamespace(serving=Serving(scorer))
    worker = StreamScorer(Settings(home=str(folder)), "test", live, layouts, threading.Event())
    made = worker._decide_together([batch_of([record]) for record in records])
    found = [msgspec.json.decode(value, type=Decision) for one in made for value in one.values]
    bits = scorer.score(aligned_rows(records, layouts)[0]).view(np.uint32).tolist()
    return [
        {
            "status": d.status, "by": d.degraded_by, "score": d.score, "catalogue": d.features_version, "bits": bit,
            "reasons": [msgspec.to_builtins(reason) for reason in d.reasons],
        }
        for d, bit in zip(found, bits, strict=True)
    ]  # fmt: skip


def archived(folder: Path, records: list[FeatureRecord], layouts: Layouts) -> dict[str, Any]:
    root = folder / f"archive-{CATALOGUE_HASH}"
    refused: list[str] = []
    archive = Archive(root, lambda _, text: refused.append(text), layouts=layouts)
    archive.add([Record("features", 0, r.offset, r.appended_ms, encode_features(r)) for r in records], 0.0)
    archive.close()
    table = ds.dataset(root / "features").to_table().sort_by("offset")
    rows = np.column_stack([table[name].to_numpy() for name in NAMES])
    return {
        "refused": refused,
        "unknown": {name: np.isnan(rows[:, place]).tolist() for place, name in enumerate(NAMES)},
        "bits": {name: rows[:, place].view(np.uint32).tolist() for place, name in enumerate(NAMES)},
    }


if __name__ == "__main__":
    if sys.argv[2] == "make":
        make(Path(sys.argv[1]), sys.argv[3])
    else:
        print(json.dumps(read(Path(sys.argv[1]))))
