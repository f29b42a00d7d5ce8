"""A usual alternative: FastAPI, Feast's SDK on Redis, XGBoost. The same model, the same features, the same five entities.

    python -m loadtest.peers.feast_service REDIS MODEL PORT WORKERS FOLDER

``REDIS`` is host:port,db=N; ``MODEL`` the bundle's model.ubj. Prints one line of JSON once its store is filled, then
serves ``POST /v1/score``. It does less than ours: it publishes nothing, stores no ids, updates no state, explains nothing, and
computes no feature. It reads values that were written before, and zeros for unknown entities.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
import xgboost
from fastapi import FastAPI
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource
from feast.types import Float32, String
from feast.value_type import ValueType
from pydantic import BaseModel

from features.catalogue import FEATURES, INDEX, WIDTH

ENTITIES = {
    "card": "card_id", "merchant": "merchant_id", "device": "device_id", "ip": "ip", "customer": "customer_id",
}  # fmt: skip
VIEWS = {entity: [f.name for f in FEATURES if f.entity == entity] for entity in ENTITIES}
WANTED = [f"{entity}_view:{name}" for entity, names in VIEWS.items() for name in names]
FOLDER, MODEL = "PEER_FOLDER", "PEER_MODEL"
#: filled for so many of each entity: what is unknown costs the SDK the same read
FILLED = 500
THRESHOLD = 0.5


class Transaction(BaseModel):
    transaction_id: str
    event_time: datetime
    card_id: str
    merchant_id: str
    amount_minor: int
    currency: str
    customer_id: str | None = None
    device_id: str | None = None
    ip: str | None = None


class Decision(BaseModel):
    transaction_id: str
    decision: str
    score: float


def build() -> FastAPI:
    """One worker's application."""
    store = FeatureStore(repo_path=os.environ[FOLDER])
    booster = xgboost.Booster({"nthread": 1}, model_file=os.environ[MODEL])
    booster.set_param({"nthread": 1})
    app = FastAPI()

    # without await inside, a thread for each request would only add a hop
    @app.post("/v1/score")
    async def score(transaction: Transaction) -> Decision:
        row = {key: getattr(transaction, key) or "" for key in ENTITIES.values()}
        known = store.get_online_features(WANTED, [row]).to_dict()
        vector = np.zeros((1, WIDTH), np.float32)
        vector[0, INDEX["amount"]] = transaction.amount_minor
        for names in VIEWS.values():
            for name in names:
                vector[0, INDEX[name]] = known[name][0] or 0.0
        value = float(booster.inplace_predict(vector, validate_features=False)[0])
        verdict = "review" if value >= THRESHOLD else "approve"
        return Decision(transaction_id=transaction.transaction_id, decision=verdict, score=value)

    return app


def fill(redis: str, folder: Path) -> None:
    """Define the views and write the first entities' values."""
    config = {
        "project": "http_peer", "provider": "local", "registry": str(folder / "registry.db"),
        "online_store": {"type": "redis", "connection_string": redis}, "offline_store": {"type": "dask"},
        "entity_key_serialization_version": 3,
    }  # fmt: skip
    # JSON is YAML too
    (folder / "feature_store.yaml").write_text(json.dumps(config))
    store = FeatureStore(repo_path=str(folder))
    objects: list[Any] = []
    for entity, key in ENTITIES.items():
        source = PushSource(
            name=f"{entity}_push",
            batch_source=FileSource(
                name=f"{entity}_log",
                path=str(folder / f"{entity}.parquet"),
                timestamp_field="event_timestamp",
            ),
        )
        defined = Entity(name=entity, join_keys=[key], value_type=ValueType.STRING)
        schema = [
            Field(name=key, dtype=String),
            *(Field(name=name, dtype=Float32) for name in VIEWS[entity]),
        ]
        view = FeatureView(
            name=f"{entity}_view", entities=[defined], ttl=timedelta(days=60), schema=schema, source=source
        )
        objects += [defined, source, view]
    store.apply(objects)
    values = np.random.default_rng(1)
    for entity, key in ENTITIES.items():
        frame = {name: values.random(FILLED, np.float32) for name in VIEWS[entity]}
        keys = [f"{entity}-{k}" for k in range(FILLED)]
        stamped = {key: keys, "event_timestamp": datetime.now(UTC), **frame}
        store.push(f"{entity}_push", pd.DataFrame(stamped))


def main(redis: str, model: str, port: int, workers: int, folder: Path) -> None:
    fill(redis, folder)
    os.environ.update({FOLDER: str(folder), MODEL: model})
    print(json.dumps({"filled": FILLED, "features": len(WANTED)}), flush=True)
    # importing Feast takes longer than uvicorn waits for a worker's sign of life
    uvicorn.run(
        "loadtest.peers.feast_service:build", factory=True, port=port, workers=workers, log_level="error",
        timeout_worker_healthcheck=60,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
