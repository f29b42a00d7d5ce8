"""The feature store as its users meet it: views, errors, the archive's joins, and `feast serve`. On a real Redis.

That values are right is in ``test_feast_online.py`` (online), ``test_feast_history.py`` and ``test_feast_training.py`` (archive).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from feast import FeatureStore

from features.catalogue import FEATURES, NAMES
from features.feast_repo.apply import FeastError, apply_repo, open_store
from features.feast_repo.definitions import (
    ENTITY_SERVICE,
    HISTORY_SERVICE,
    HISTORY_VIEW,
    SCORING_SERVICE,
    SERVED_VIEW,
    definitions,
)
from features.feast_repo.offline_store import NotHistorical
from features.profile.records import STATE_VERSION
from features.store.feast_store import (
    ENTITY_VIEWS,
    SCORING_VIEW,
    InvalidTransaction,
    NotOnline,
    StateUnavailable,
    WriteRefused,
)
from features.store.redis_client import RespClient
from features.store.state_versions import begin, unfinished_key
from features.store.views import JOIN_KEYS
from streams.archive.writer import Archive
from streams.runtime.settings import Settings
from tests.support.archive_samples import START_MS, features
from tests.support.parity_world import PARTITIONS, MemoryLog, Worker
from tests.support.waiting import until

NOW = datetime.now(UTC)
PAYMENT = {
    "transaction_id": "t-{n}", "event_time": "", "card_id": "card-1", "customer_id": "customer-1", "merchant_id": "m-1",
    "device_id": "d-1", "ip": "203.0.113.7", "amount_minor": 1000, "currency": "EUR", "country": "FR", "channel": "ecom",
    "mcc": "5411", "latitude": 48.8, "longitude": 2.3,
}  # fmt: skip
IDS = {key: PAYMENT[key] for key in JOIN_KEYS.values()}


def payment(n: int, ago: timedelta) -> bytes:
    return json.dumps(
        {
            **PAYMENT,
            "transaction_id": f"t-{n}",
            "event_time": (NOW - ago).isoformat(),
            "amount_minor": 1000 + n,
        }
    ).encode()


def first_payment() -> str:
    """Of a card that was never seen."""
    return json.dumps(
        {**PAYMENT, "transaction_id": "first", "card_id": "other", "event_time": NOW.isoformat()}
    )


@pytest.fixture(scope="module")
def store(redis_alone: Settings, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store whose state knows six payments of the last minutes, of one entity of each kind."""
    root = tmp_path_factory.mktemp("feast")
    apply_repo(root / "feast", redis_alone.redis_address, PARTITIONS, root / "archive")
    log, client = MemoryLog(), RespClient(redis_alone.redis_address)
    log.now_ms = int(NOW.timestamp() * 1000)
    worker: Any = Worker(log, client)  # type: ignore[arg-type]
    for n in range(6):
        log.produce("transactions", "card-1", payment(n, timedelta(minutes=7 - n)), 0)
        log.produce("transactions", "card-1", payment(n, timedelta(minutes=7 - n)), 1)
    while worker.behind():
        worker.step("transactions", 10)
        worker.step("entities", 10)
    client.close()
    return open_store(root / "feast")


def scoring(store: FeatureStore, *texts: str) -> dict[str, list[Any]]:
    rows = [{"transaction_json": text} for text in texts]
    found: dict[str, list[Any]] = store.get_online_features(
        store.get_feature_service(SCORING_SERVICE), rows
    ).to_dict()
    return found


def test_views_are_the_catalogue(tmp_path: Path) -> None:
    views = {view.name: view for view in definitions(tmp_path).views}
    assert set(views) == {*ENTITY_VIEWS.values(), SCORING_VIEW, HISTORY_VIEW, SERVED_VIEW}
    for entity, name in ENTITY_VIEWS.items():
        assert [f.name for f in views[name].features] == [f.name for f in FEATURES if f.entity == entity]
    assert [f.name for f in views[SCORING_VIEW].features] == list(NAMES)
    assert {str(f.dtype) for f in views[SCORING_VIEW].features} == {"Float32"}
    assert {name for view in views.values() for name in [f.name for f in view.features]} >= set(NAMES)


def test_an_entity_is_what_it_is_now(store: FeatureStore) -> None:
    found = store.get_online_features(store.get_feature_service(ENTITY_SERVICE), [IDS]).to_dict()
    assert [found[name] for name in ("card_count_1h", "customer_count_24h", "merchant_count_1h")] == [
        [6.0],
        [6.0],
        [6.0],
    ]
    assert found["card_sum_30d"] == [6 * 1000.0 + 15] and found["card_max_7d"] == [1005.0]
    assert found["card_merchants_7d"] == [1.0] and found["ip_cards_7d"] == [1.0]
    assert 60 <= found["card_seconds_since_last"][0] < 3600
    # what looks at a payment is not known without one
    assert found["card_new_merchant"] == found["merchant_amount_ratio_mean_30d"] == [None]


def test_a_transaction_gets_the_whole_vector(store: FeatureStore) -> None:
    found = scoring(store, payment(9, timedelta(0)).decode(), first_payment())
    assert set(found) == {*NAMES, "transaction_json"}
    assert found["card_count_1h"] == [7.0, 1.0] and found["merchant_count_1h"] == [6.0, 6.0]
    assert found["card_new_merchant"] == [0.0, 1.0] and found["amount"] == [1009.0, 1000.0]


def test_an_absent_entity_is_null_and_an_unknown_one_is_empty(store: FeatureStore) -> None:
    rows = [{"customer_id": ""}, {"customer_id": "nobody"}]
    found = store.get_online_features(
        ["customer_features:customer_count_1h", "customer_features:customer_mean_1h"], rows
    )
    assert found.to_dict()["customer_count_1h"] == [None, 0.0]
    assert found.to_dict()["customer_mean_1h"] == [None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "transaction_id"),
        ("no json", "JSON"),
        (json.dumps({**PAYMENT, "event_time": "yesterday"}), "event_time"),
        (json.dumps({**PAYMENT, "event_time": "2026-11-21T10:15:30"}), "event_time"),
        (json.dumps({**PAYMENT, "event_time": NOW.isoformat(), "amount_minor": -1}), "amount_minor"),
    ],
)
def test_what_is_no_transaction_is_refused_by_its_field(store: FeatureStore, text: str, said: str) -> None:
    with pytest.raises(InvalidTransaction, match=said):
        scoring(store, text)


def test_the_stream_is_the_only_writer(store: FeatureStore, redis_alone: Settings) -> None:
    client = RespClient(redis_alone.redis_address)
    before = stored(client)
    own = [f.name for f in FEATURES if f.entity == "card"]
    frame = pd.DataFrame(
        {
            "card_id": ["card-1"],
            **{name: [1.0] for name in own},
            "event_timestamp": [NOW],
            "created_timestamp": [NOW],
        }
    )
    with pytest.raises(WriteRefused, match="only the stream writes"):
        store.write_to_online_store("card_features", frame)
    assert before and stored(client) == before
    client.close()


def stored(client: RespClient) -> dict[bytes, bytes]:
    keys = client.call([("KEYS", "*")])[0]
    return dict(zip(keys, client.call([("DUMP", key) for key in keys]), strict=True))


def test_applying_again_and_tearing_down_leave_state_alone(
    store: FeatureStore, redis_alone: Settings, tmp_path: Path
) -> None:
    client = RespClient(redis_alone.redis_address)
    before = stored(client)
    apply_repo(tmp_path / "feast", redis_alone.redis_address, PARTITIONS, tmp_path / "archive")
    started = time.monotonic()
    apply_repo(tmp_path / "feast", redis_alone.redis_address, PARTITIONS, tmp_path / "archive")
    assert time.monotonic() - started < 30
    other = open_store(tmp_path / "feast")
    other.delete_feature_view("card_features")
    other.teardown()
    assert stored(client) == before
    client.close()
    with pytest.raises(FeastError, match="no feature store"):
        open_store(tmp_path / "nothing")


def test_views_of_now_and_of_the_past_are_told_apart(store: FeatureStore) -> None:
    with pytest.raises(NotOnline, match="get_historical_features"):
        store.get_online_features([f"{HISTORY_VIEW}:amount"], [{"card_id": "card-1"}])
    asked = pd.DataFrame({"card_id": ["card-1"], "event_timestamp": [NOW]})
    with pytest.raises(NotHistorical, match="served_features"):
        store.get_historical_features(asked, ["card_features:card_count_1h"]).to_df()


def test_half_a_state_is_said_to_be_half(store: FeatureStore, redis_alone: Settings) -> None:
    client = RespClient(redis_alone.redis_address)
    client.call(begin(STATE_VERSION, "a test"))
    try:
        with pytest.raises(StateUnavailable, match="being rebuilt"):
            scoring(store, payment(9, timedelta(0)).decode())
    finally:
        client.call([("DEL", unfinished_key(STATE_VERSION))])
        client.close()


def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    apply_repo(tmp_path / "feast", "redis://127.0.0.1:1", PARTITIONS, tmp_path / "archive")
    with pytest.raises(StateUnavailable, match=r"127\.0\.0\.1:1"):
        open_store(tmp_path / "feast").get_online_features(
            ["card_features:card_count_1h"], [{"card_id": "card-1"}]
        )


def test_many_threads_ask_at_once(store: FeatureStore) -> None:
    def ask(n: int) -> tuple[list[Any], list[Any]]:
        found = scoring(store, payment(100 + n, timedelta(0)).decode())
        return found["amount"], found["card_count_1h"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [([1100.0 + n], [7.0]) for n in range(40)]


def test_history_is_joined_as_of_each_moment(store: FeatureStore, tmp_path: Path) -> None:
    apply_repo(tmp_path / "feast", "redis://127.0.0.1:1", PARTITIONS, tmp_path / "archive")
    archived = open_store(tmp_path / "feast")

    def refuse(record: object, reason: str) -> None:
        raise AssertionError(f"{record} refused: {reason}")

    archive = Archive(tmp_path / "archive", refuse)
    # card-1 pays as number 1, 8 and 15; a day lies between payments
    archive.add([features(n, event_ms=START_MS + n * 86_400_000) for n in range(16)], 0.0)
    archive.close()
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    moments = [start + timedelta(days=days) for days in (0, 1, 7.5, 8, 99)]
    asked = pd.DataFrame({"card_id": ["card-1"] * 5, "event_timestamp": moments})
    columns = [f"{HISTORY_VIEW}:{name}" for name in ("transaction_id", NAMES[0], NAMES[-1])]
    found = archived.get_historical_features(asked, columns).to_df().sort_values("event_timestamp")
    # Feast's Dask store leaves out a row whose card has only later payments; what matters is that it sees none of them
    found = found[found["event_timestamp"] > start]
    assert list(found["transaction_id"]) == ["tx-1", "tx-1", "tx-8", "tx-15"]
    assert list(found[NAMES[0]]) == [1.0, 1.0, 8.0, 15.0]
    assert list(found[NAMES[-1]]) == [n + len(NAMES) - 1.0 for n in (1, 1, 8, 15)]
    # and none of it is written over what the stream keeps
    with pytest.raises(WriteRefused, match="only the stream writes"):
        archived.materialize(start, start + timedelta(days=30))
    service = archived.get_feature_service(HISTORY_SERVICE)
    everything = archived.get_historical_features(asked, service).to_df()
    assert set(NAMES) <= set(everything.columns)


def test_feast_serve_answers_as_the_sdk_does(
    store: FeatureStore, free_port_base: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port_base()
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(store.repo_path), "serve", "-h", "127.0.0.1", "-p", str(port)]  # fmt: skip
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen([*command, "--no-access-log"], stdout=log, stderr=log, env=dict(os.environ))
        try:
            base = f"http://127.0.0.1:{port}"
            until(lambda: server.poll() is not None or answers(base), 90, "the feature server to answer")
            assert server.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
            texts = [payment(9, timedelta(0)).decode(), first_payment()]
            asked = {"feature_service": SCORING_SERVICE, "entities": {"transaction_json": texts}}
            answer = httpx.post(f"{base}/get-online-features", json=asked, timeout=90)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            names = body["metadata"]["feature_names"]
            served = {name: result["values"] for name, result in zip(names, body["results"], strict=True)}
            wanted = scoring(store, *texts)
            assert served == wanted
            assert None in [values[1] for values in served.values()]
            refused = httpx.post(
                f"{base}/get-online-features",
                json={**asked, "entities": {"transaction_json": ["{}"]}},
                timeout=90,
            )
            assert refused.status_code == 422 and "transaction_id" in refused.text
        finally:
            server.terminate()
            server.wait(30)


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health", timeout=90).status_code == 200
    except httpx.TransportError:
        return False
