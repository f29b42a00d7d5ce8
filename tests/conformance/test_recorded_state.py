"""State as release 0.2.0 stored it stays readable, and a later version takes it over.

``golden/state-0.2.0.json`` was written once, by ``python -m tests.conformance.test_recorded_state``: what a processor kept of a
few entities of every kind, and the log that it had read. State that users have looks like it, so it is not written again; code
that cannot read it any more needs a way to upgrade it (decision 18).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.catalogue import INDEX
from features.profile.codec import ProfileError, read_profiles
from features.profile.records import STATE_VERSION, new_arena
from features.store.keys import key
from features.store.partitions import entity_partition, partitions_of
from features.store.profiles.cache import ProfileCache
from features.store.state_versions import serving
from features.store.views import FRAUDS_OF, PAYMENTS_OF, VIEWS, View
from features.transaction import Transaction, from_ms
from streams.contracts.text.json_encoding import encode
from streams.log.records import EntityItem, EntityItems, LabelStatement, encode_items
from streams.processor import takeover
from tests.support.feature_batches import decode_features
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Record, Worker
from tests.support.two_state_versions import Mirror, prepare, reading
from tests.support.whole import whole

GOLDEN = Path(__file__).parent / "golden" / "state-0.2.0.json"
NAMES = {
    "card": ("card-1", "card-2"), "customer": ("cu-1",), "merchant": ("m-1", "m-2"), "device": ("d-1",), "ip": ("203.0.113.7",),
}  # fmt: skip
START = from_ms(APPENDED_MS) - timedelta(days=20)
DAY_MS = 86_400_000


def payment(number: int) -> Transaction:
    """Every eighteen hours, of two cards in turn."""
    return Transaction(
        transaction_id=f"t-{number}", event_time=START + timedelta(hours=18 * number), card_id=f"card-{1 + number % 2}",
        merchant_id=f"m-{1 + number % 2}", amount_minor=1_000 + 7 * number, currency="EUR", customer_id="cu-1",
        device_id="d-1", ip="203.0.113.7", mcc="5411", channel="ecom", country="FR", latitude=48.85, longitude=2.35 + number % 2,
    )  # fmt: skip


def labelled(entity: str, name: str, kind: str, offset: int) -> EntityItem:
    """A reported fraud of the second day, or a decline."""
    fraud = kind == "label"
    at_ms = APPENDED_MS - 18 * DAY_MS
    said = LabelStatement("t-3", APPENDED_MS, 0) if fraud else None
    return EntityItem(entity, name, kind, offset, at_ms, 1_000, 1, int(fraud), None, said)


def send(log: MemoryLog, tx: Transaction) -> None:
    log.produce("transactions", tx.card_id, encode(tx), int(partitions_of([tx.card_id], PARTITIONS)[0]))


def record() -> dict[str, Any]:
    """What this code keeps after some payments, labels and declines, and the log of them."""
    log, redis = MemoryLog(), MemoryRedis()
    worker = Worker(log, redis)
    for number in range(12):
        send(log, payment(number))
    while worker.behind():
        worker.step("transactions", 3)
        worker.step("entities", 3)
    named = [(entity, name) for entity, names in NAMES.items() for name in names]
    for number, (entity, name) in enumerate(named):
        kinds = ("label", "declined") if entity in FRAUDS_OF else ("label",)
        items = [labelled(entity, name, kind, 2 * number + k) for k, kind in enumerate(kinds)]
        place = entity_partition(entity, name, PARTITIONS)
        log.produce("entities", value=encode_items(EntityItems("labels", 0, items)), partition=place)
    while worker.behind():
        worker.step("entities", 3)
    return {
        "partitions": PARTITIONS,
        "values": {name: as_text(value) for name, value in redis.values.items()},
        "hashes": {name: {f.decode(): as_text(v) for f, v in fields.items()} for name, fields in redis.hashes.items()},
        "sets": {name: sorted(map(as_text, members)) for name, members in redis.sets.items()},
        "log": {
            f"{topic}:{partition}": [[r.timestamp, r.key, as_text(r.value)] for r in records]
            for (topic, partition), records in log.topics.items()
            if topic in ("transactions", "entities")
        },
        "fields": {f"{view.name}:{name}": facts(profile(redis, view, name)) for view, name in entities()},
    }  # fmt: skip


def as_text(raw: bytes) -> str:
    return b64encode(raw).decode()


def entities() -> list[tuple[View, str]]:
    return [(view, name) for view in VIEWS for name in NAMES[view.entity]]


def profile(redis: MemoryRedis, view: View, name: str) -> Any:
    """What the processor's own reader finds of one entity."""
    cache = ProfileCache(PARTITIONS, budget_bytes=1 << 20, room=8)
    cache.begin_session(range(PARTITIONS))
    cache.begin_batch()
    slots = cache.slots(view.entity, [name])
    cache.load(redis.call(cache.reads()))
    arena, places = cache.profiles_of(view, slots)
    return arena[places[0]]


def facts(record: Any) -> dict[str, Any]:
    """Fields of a record that are not zero, as plain numbers."""
    found = {name: record[name].tolist() for name in record.dtype.names}
    return {
        name: json.loads(json.dumps(value))
        for name, value in found.items()
        if np.any(record[name].tobytes().strip(b"\0"))
    }


def recorded() -> tuple[dict[str, Any], MemoryRedis, MemoryLog]:
    """The file, a store that holds what it says, and its log."""
    held = json.loads(GOLDEN.read_bytes())
    redis, log = MemoryRedis(), MemoryLog()
    redis.values = {name: b64decode(value) for name, value in held["values"].items()}
    redis.hashes = {
        name: {f.encode(): b64decode(v) for f, v in fields.items()} for name, fields in held["hashes"].items()
    }
    redis.sets = {name: set(map(b64decode, members)) for name, members in held["sets"].items()}
    for place, rows in held["log"].items():
        topic, _, partition = place.partition(":")
        log.topics[topic, int(partition)] = [
            Record(topic, int(partition), offset, at, of, b64decode(value), [])
            for offset, (at, of, value) in enumerate(rows)
        ]
    return held, redis, log


def test_recorded_state_is_found_and_read() -> None:
    """Whoever breaks this must upgrade what users have stored: raise STATE_VERSION, or have the codec read the format."""
    held, redis, _ = recorded()
    assert held["partitions"] == PARTITIONS
    assert {key(view, name, PARTITIONS).decode() for view, name in entities()} == set(whole(redis.values))
    for view, name in entities():
        found = facts(profile(redis, view, name))
        wanted = held["fields"][f"{view.name}:{name}"]
        assert wanted and {field: found.get(field) for field in wanted} == wanted, (view.name, name)


def test_the_worker_that_stored_it_goes_on_from_it() -> None:
    _, redis, log = recorded()
    worker = Worker(log, redis)
    # all of the log is applied: nothing is made again
    assert not worker.behind()
    send(log, payment(12))
    worker.step("transactions", 10)
    (made,) = log.records("features")
    row = np.frombuffer(decode_features(made.value).vector, "<f4")
    # six payments of the card, twelve of the customer; one fraud of a week ago
    assert row[INDEX["card_count_30d"]] == 7
    assert row[INDEX["card_frauds_30d"]] == 1
    assert row[INDEX["merchant_count_30d"]] >= 6


@pytest.mark.parametrize("prepared", [True, False])
def test_a_later_version_takes_recorded_state_over(monkeypatch: pytest.MonkeyPatch, prepared: bool) -> None:
    """The mechanism of decision 18: made from the log beside what is there, then switched; what was there stays until it is dropped."""
    held, redis, log = recorded()
    monkeypatch.setattr(takeover, "read_span", reading(log))
    before = {
        name: value for name, value in redis.values.items() if "}v1:" in name and not name.endswith(":epoch")
    }
    later: Any = Mirror(redis)
    if prepared:
        prepare(later, log, {place: len(records) for place, records in log.topics.items()})
    worker = Worker(log, later)
    assert not worker.behind()
    # silently: what was at work before has made all features
    assert not log.records("features") and not log.records("dead-letters")
    assert serving(redis) == STATE_VERSION + 1  # type: ignore[arg-type]
    own = whole(redis.values, STATE_VERSION + 1)
    assert own == {
        name.replace("}v1:", "}v2:"): made for name, made in whole(redis.values, STATE_VERSION).items()
    }
    assert {name: redis.values[name] for name in before} == before
    # and it goes on with all that was known
    send(log, payment(12))
    worker.step("transactions", 10)
    (made,) = log.records("features")
    row = np.frombuffer(decode_features(made.value).vector, "<f4")
    assert row[INDEX["card_count_30d"]] == 7 and row[INDEX["card_frauds_30d"]] == 1
    assert held["fields"]["card:card-1"]["n"] == 6


def test_a_format_of_the_future_is_refused_in_words() -> None:
    _, redis, _ = recorded()
    name = key(PAYMENTS_OF["card"], "card-1", PARTITIONS).decode()
    newer = bytes([redis.values[name][0] + 1]) + redis.values[name][1:]
    with pytest.raises(ProfileError, match="this code reads format"):
        read_profiles(new_arena(PAYMENTS_OF["card"].dtype, 1), np.array([0]), [newer])


if __name__ == "__main__":
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(record(), sort_keys=True) + "\n")
        print(GOLDEN, GOLDEN.stat().st_size)
