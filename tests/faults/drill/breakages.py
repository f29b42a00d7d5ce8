"""Ways to break a stack that are not the end of a process: what producers, callers and a full store do to it. Each returns what undoes it."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import redis

from features.store.partition_lease import REBUILDING_KEY
from features.transaction import Transaction
from models.bundle.content import MODEL, bundle_path
from streams.contracts.text.json_encoding import encode
from streams.log.records import HEADER_DECIDED
from streams.log.topics import DECISIONS, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.running import pid_of, run_cli, run_json
from tests.support.waiting import STALL_S, until

LIMIT = "maxmemory"
#: more than the alert's limit of ten
BAD_RECORDS = 40
#: the books are sampled: enough that one is looked at
UNKNOWN = 200
#: the replica of the HTTP edge
EDGE = "scoring-http-0"
#: the scorer stands for STOPS_S of every EVERY_S: a third of all decisions is late, and no health check fails
STOPS_S, EVERY_S = 0.5, 1.5


def _send(settings: Settings, topic: str, value: bytes, count: int = 1, headers: Any = None) -> None:
    producer = new_producer(settings.kafka, "drill")
    for _ in range(count):
        producer.produce(topic, value=value, key="card-drill", headers=headers)
    flush(producer, STALL_S)


def _payment(name: str) -> Transaction:
    return Transaction(
        transaction_id=f"{name}-{uuid.uuid4().hex[:12]}", event_time=datetime.now(UTC), card_id="card-drill", merchant_id="m-drill",
        amount_minor=1299, currency="EUR",
    )  # fmt: skip


def bad_records(settings: Settings) -> None:
    """A producer sends what is no JSON."""
    _send(settings, TRANSACTIONS.name, b"no json", BAD_RECORDS)


def forged_header(settings: Settings) -> None:
    """A producer says that the HTTP edge has already approved its payment."""
    _send(settings, TRANSACTIONS.name, encode(_payment("forged")), headers=[(HEADER_DECIDED, b"approve")])


def unknown_decision(settings: Settings) -> None:
    """Somebody writes decisions of payments that were never made."""
    now = datetime.now(UTC).isoformat()
    decision = {
        "decision": "approve", "status": "scored", "score": 0.1, "reasons": [], "model": "fraud", "model_version": "1.0.0",
        "policy_version": "1", "features_version": "0", "arm": "champion", "event_time": now, "received_at": now, "decided_at": now,
        "latency_ms": 1.0, "card_id": "card-drill", "tenant": "default",
    }  # fmt: skip
    for _ in range(UNKNOWN):
        made_up = {"transaction_id": f"none-{uuid.uuid4().hex}", **decision}
        _send(settings, DECISIONS.name, json.dumps(made_up).encode())


def no_model(settings: Settings) -> Callable[[], None]:
    """The live bundle is damaged on the disk, and the HTTP edge starts anew: it refuses the bundle, and has no last good one."""
    live = json.loads(run_cli(settings, "models", "list", "--json").stdout)
    version = next(row["version"] for row in live if row["state"] == "live")
    policy = bundle_path(settings.bundles_dir, MODEL, version) / "policy.json"
    good = policy.read_bytes()
    policy.write_bytes(good.replace(b"review", b"revieW"))
    _restarted(settings, EDGE)
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(timeout=STALL_S) as client:
            while not stop.wait(0.1):
                with suppress(httpx.HTTPError):
                    client.post(f"{settings.http}/v1/score", content=encode(_payment("no-model")))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()

    def undo() -> None:
        stop.set()
        thread.join(STALL_S)
        policy.write_bytes(good)
        _restarted(settings, EDGE)

    return undo


def _restarted(settings: Settings, name: str) -> None:
    done = run_cli(settings, "restart", name)
    assert done.returncode == 0, done.stdout + done.stderr


def stutter(settings: Settings) -> Callable[[], None]:
    """The stream scorer stands still for half a second, again and again."""
    pid = until(lambda: pid_of(settings, "scoring-stream-0"), 60, "a scorer")
    stop = threading.Event()

    def stutters() -> None:
        with suppress(ProcessLookupError):
            while not stop.is_set():
                os.kill(pid, signal.SIGSTOP)
                stop.wait(STOPS_S)
                os.kill(pid, signal.SIGCONT)
                stop.wait(EVERY_S - STOPS_S)

    thread = threading.Thread(target=stutters, daemon=True)
    thread.start()

    def undo() -> None:
        stop.set()
        thread.join(STALL_S)

    return undo


def proposal(settings: Settings) -> Callable[[], None]:
    """An analyst publishes the live rules again, and nobody approves them."""
    version = _published(settings)
    return lambda: _rejected(settings, version)


def damaged_bundle(settings: Settings) -> Callable[[], None]:
    """A published version is changed on the disk, and then approved."""
    version = _published(settings)
    policy = bundle_path(settings.bundles_dir, MODEL, version) / "policy.json"
    policy.write_bytes(policy.read_bytes().replace(b"review", b"revieW"))
    approved = run_cli(settings, "models", "approve", version, "--why", "drill")
    assert approved.returncode == 1, approved.stdout + approved.stderr
    return lambda: _rejected(settings, version)


def _published(settings: Settings) -> str:
    """The version under which the live rules were published again."""
    file = settings.root / f"drill-{uuid.uuid4().hex[:8]}.toml"
    exported = run_cli(settings, "rules", "export", "--out", str(file))
    assert exported.returncode == 0, exported.stderr
    return str(run_json(settings, "rules", "publish", str(file), "--why", "drill")["version"])


def _rejected(settings: Settings, version: str) -> None:
    done = run_cli(settings, "models", "reject", version, "--why", "drill")
    assert done.returncode == 0, done.stdout + done.stderr


def empty_store(settings: Settings) -> None:
    """Redis is emptied and the loss is marked (``streams.processor.state_loss``), atomically, as if it was replaced with a long log."""
    told = {"why": "the store was emptied", "since": datetime.now(UTC).isoformat(timespec="seconds")}
    store = redis.Redis.from_url(settings.redis)
    store.pipeline(transaction=True).flushall().set(REBUILDING_KEY, json.dumps(told)).execute()


def _limited(settings: Settings, limit: Callable[[int], int]) -> Callable[[], None]:
    store = redis.Redis.from_url(settings.redis)
    before = store.config_get(LIMIT)[LIMIT]
    store.config_set(LIMIT, limit(int(store.info("memory")["used_memory"])))

    def undo() -> None:
        store.config_set(LIMIT, before)

    return undo


def full_store(settings: Settings) -> Callable[[], None]:
    """Redis has no room left."""
    return _limited(settings, lambda _used: 1_000_000)


def nearly_full_store(settings: Settings) -> Callable[[], None]:
    """Redis uses a little over 80 % of what it may, and more with every payment."""
    return _limited(settings, lambda used: int(used / 0.82))
