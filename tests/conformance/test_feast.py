"""The hot path's Redis layout against Feast's SDK, both ways, on a real Redis; and the archive as Feast's offline store.

A Feast release that changes its layout fails here before it can lose anybody's state.
"""

from __future__ import annotations

import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from features.catalogue import NAMES
from features.feast_repo.apply import FeastError, apply_repo, open_store
from features.feast_repo.archived import STATE_FOLDER, state_schema
from features.feast_repo.definitions import HISTORY_SERVICE, HISTORY_VIEW, ONLINE_SERVICE
from features.profile.codec import IN_PARTS, LAYOUT, encode_profiles, words_of
from features.profile.records import new_arena
from features.store.batch_commands import Parts, pack_hmget, pack_hset
from features.store.keys import (
    JOIN_KEYS,
    VIEWS,
    View,
    entity_key,
    hmget,
    hset,
    read_fields,
    timestamp_field,
    unpack_bytes,
)
from features.store.redis_client import RespClient
from features.store.stored_profiles import columns_in, read_profiles
from infra.stack.tools import find_tools
from streams.archive.writer import Archive
from streams.processor.entity_updates import dtype_of
from tests.support.archive_samples import START_MS, features
from tests.support.parity_world import MemoryRedis

EVENT = datetime(2026, 11, 21, 10, 15, 30, 123000, tzinfo=UTC)
EVENT_MS = 1_795_256_130_123
IDS = ("x", "card-42", "客户-7 é", "a" * 64, "203.0.113.7")
PROFILE = bytes(range(256)) * 8
SINCE = b"\xff\x00since"


def _free_port() -> int:
    for port in range(24100, 24900):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no free port from 24100 to 24899")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port, folder = _free_port(), tmp_path_factory.mktemp("redis")
    program = find_tools().redis_server
    assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, socket_timeout=5)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield client, port
    finally:
        client.close()
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def store(server, tmp_path_factory):
    root = tmp_path_factory.mktemp("feast")
    apply_repo(root / "feast", f"redis://127.0.0.1:{server[1]}", root / "archive")
    return open_store(root / "feast"), root / "archive"


def _scalars(view: View) -> list[int]:
    return [-3, 2**40][: len(view.numbers)]


def _values(view: View) -> dict[str, bytes | int]:
    """Of every field."""
    since = {"since": SINCE} if view.in_parts else {}
    return {"profile": PROFILE, **since, **dict(zip(view.numbers, _scalars(view), strict=True))}


def _hset(view: View, entity_id: str) -> tuple[bytes, ...]:
    return hset(view, entity_id, EVENT_MS, PROFILE, *_scalars(view), since=SINCE if view.in_parts else None)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_sdk_reads_what_the_hot_path_writes(server, store, view):
    client, key = server[0], JOIN_KEYS[view.entity]
    for entity_id in IDS:
        client.execute_command(*_hset(view, entity_id))
    asked = [f"{view.name}:{name}" for name, _ in view.fields]
    rows = [{key: entity_id} for entity_id in (*IDS, "nobody")]
    found = store[0].get_online_features(features=asked, entity_rows=rows).to_dict()
    for name, value in _values(view).items():
        assert found[name] == [value] * len(IDS) + [None]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_hot_path_reads_what_the_sdk_writes(server, store, view):
    client, key = server[0], JOIN_KEYS[view.entity]
    ids = [f"sdk-{entity_id}"[:64] for entity_id in IDS]
    values = {name: [value] * len(ids) for name, value in _values(view).items()}
    frame = pd.DataFrame({key: ids, **values, "event_timestamp": EVENT, "created_timestamp": EVENT})
    store[0].write_to_online_store(view.name, frame)
    for entity_id in ids:
        stored = client.execute_command(*hmget(view.entity, entity_id, view))
        assert [unpack_bytes(value) for value in stored] == [PROFILE, SINCE][: len(stored)]
        # and every other byte: the hot path writes the very hash that the SDK wrote
        theirs = client.hgetall(entity_key(view.entity, entity_id))
        ours = _hset(view, entity_id)[2:]
        assert {field: theirs[field] for field in ours[::2]} == dict(zip(ours[::2], ours[1::2], strict=True))
        assert timestamp_field(view.name) in theirs


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_sdk_reads_what_the_processor_packs(server, store, view):
    """The compiled commands themselves, with expiry: values at the ends of their types, and the view's timestamp."""
    numbers = [0, -1, 2**63 - 1, -(2**63)]
    names, key = [f"packed-{number}" for number in numbers], JOIN_KEYS[view.entity]
    arena = _profiles(view, len(names))
    scalars = np.repeat(np.array(numbers, dtype=np.int64)[:, None], len(view.numbers), axis=1)
    moments = EVENT_MS + np.array([0, 877, 1_000, 60_000])
    packed = pack_hset(view, names, arena, np.arange(4), moments, scalars, np.array([True, False] * 2))
    client = RespClient(f"redis://127.0.0.1:{server[1]}")
    assert not [reply for reply in client.call([packed]) if isinstance(reply, Exception)]
    client.close()
    asked = [f"{view.name}:{name}" for name, _ in view.fields]
    found = store[0].get_online_features(features=asked, entity_rows=[{key: name} for name in names])
    answer = found.to_dict()
    assert answer["profile"] == encode_profiles(arena, np.arange(4))
    for name in view.numbers:
        assert answer[name] == numbers
    for timestamps in (result.event_timestamps for result in found.proto.results[1:]):
        assert [moment.ToMilliseconds() for moment in timestamps] == moments.tolist()
    assert [server[0].ttl(entity_key(view.entity, name)) > 0 for name in names] == [True, False] * 2


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_processor_reads_profiles_that_the_sdk_pushes(server, store, view):
    names, key = [f"pushed-{i}" for i in range(3)], JOIN_KEYS[view.entity]
    arena = _profiles(view, len(names))
    values = {name: [0, -(2**63), 2**63 - 1] for name in view.numbers}
    # whole profiles: whatever stood beside one of before does not count
    since = {"since": [SINCE] * 3} if view.in_parts else {}
    frame = pd.DataFrame(
        {
            key: names, "profile": encode_profiles(arena, np.arange(3)), **since, **values, "event_timestamp": EVENT,
            "created_timestamp": EVENT,
        }
    )  # fmt: skip
    store[0].push(f"{view.name}_push", frame)
    client = RespClient(f"redis://127.0.0.1:{server[1]}")
    replies = client.call([pack_hmget([*names, "nobody"], view)])
    client.close()
    assert set(replies.pop()) == {None}
    again = new_arena(arena.dtype, len(names))
    ((profiles, stale),) = columns_in(replies, [view])
    read_profiles(again, np.arange(len(names)), profiles, stale)
    assert again.tobytes() == arena.tobytes()


WAYS = [(view, in_parts) for view in VIEWS for in_parts in (False, True)[: 1 + view.in_parts]]


@pytest.mark.parametrize(
    ("view", "in_parts"), WAYS, ids=[f"{view.name}-{'in parts' if way else 'whole'}" for view, way in WAYS]
)
def test_the_processor_reads_what_feast_materializes(server, store, view, in_parts):
    """Rows of the views' batch sources, `feast materialize` over them, and the hot path's own reading."""
    names = [f"made-{in_parts}-{i}" for i in range(3)]
    client = RespClient(f"redis://127.0.0.1:{server[1]}")
    slots = np.arange(len(names))
    if view.in_parts:
        # what the hot path left there in parts: none of it may count beside what is materialized
        before = MemoryRedis()
        _write_in_parts(before, view, names, EVENT_MS - 7_200_000)
        client.call([("HSET", key, *chain(*fields.items())) for key, fields in before.hashes.items()])
    written = MemoryRedis()
    arena = _write_in_parts(written, view, names, EVENT_MS)
    profiles, since = encode_profiles(arena, slots), [None] * len(names)
    if in_parts:
        stored = [
            [unpack_bytes(fields[name]) for name in read_fields(view)]
            for fields in (written.hashes[entity_key(view.entity, name)] for name in names)
        ]
        profiles, since = [row[0] for row in stored], [row[1] for row in stored]
        assert any(since) and profiles != encode_profiles(arena, slots)
    later = EVENT + timedelta(days=1)
    # an older row of each does not count, and one beyond the end is left for the next time
    rows = [(name, PROFILE, SINCE, [0, 0], EVENT - timedelta(hours=1)) for name in names]
    rows += [(*row, _scalars(view), EVENT) for row in zip(names, profiles, since, strict=True)]
    rows += [(f"{names[0]}-later", PROFILE, None, [0, 0], later)]
    _add_to_batch_source(store[1], view, rows, f"made-{in_parts}")
    store[0].materialize(EVENT - timedelta(days=1), later - timedelta(hours=1), feature_views=[view.name])
    replies = client.call([pack_hmget([*names, f"{names[0]}-later"], view)])
    assert set(replies.pop()) == {None}
    again = new_arena(arena.dtype, len(names))
    ((found, came_since),) = columns_in(replies, [view])
    assert [unpack_bytes(value) for value in found] == profiles
    read_profiles(again, slots, found, came_since)
    assert again.tobytes() == arena.tobytes()
    # and the view's other fields, with its moment, as the hot path writes them
    for name in names:
        ours = hset(view, name, EVENT_MS, None, *_scalars(view))[2:]
        theirs = client.call([("HMGET", entity_key(view.entity, name), *ours[::2])])[0]
        assert theirs == list(ours[1::2])
    client.close()


def _write_in_parts(redis: MemoryRedis, view: View, names: list[str], event_ms: int) -> np.ndarray:
    """Profiles written whole and then changed and written again, as the processor does; returns them as they are then."""
    arena, slots = _profiles(view, len(names)), np.arange(len(names))
    parts = Parts(np.zeros_like(arena), slots, np.zeros((len(names), 3), dtype=np.int64))
    moments, never = np.full(len(names), event_ms), np.zeros(len(names), dtype=np.bool_)
    scalars = np.repeat(np.array([_scalars(view)], dtype=np.int64), len(names), axis=0)
    for change in (1, 2):
        words_of(arena)[:, -2] += np.uint64(change)
        redis.call(
            [
                pack_hset(
                    view, names, arena, slots, moments, scalars, never, IN_PARTS if view.in_parts else LAYOUT,
                    parts if view.in_parts else None,
                )
            ]
        )  # fmt: skip
    return arena


def _add_to_batch_source(archive: Path, view: View, rows: list[tuple], name: str) -> None:
    """Rows of entity, profile, what came since, numbers and moment, as one more file of the view's source."""
    columns = {
        JOIN_KEYS[view.entity]: [row[0] for row in rows],
        "profile": [row[1] for row in rows],
        "since": [row[2] for row in rows],
        **{number: [row[3][i] for row in rows] for i, number in enumerate(view.numbers)},
        "event_timestamp": [row[4] for row in rows],
        "created_timestamp": [row[4] for row in rows],
    }
    schema = state_schema(JOIN_KEYS[view.entity], view.fields)
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema)
    pq.write_table(table, archive / STATE_FOLDER / view.name / f"{name}.parquet")


def _profiles(view: View, count: int) -> np.ndarray:
    """Profiles of a view's kind: the first short, the last with every word used."""
    arena = new_arena(dtype_of(view), count)
    for i, record in enumerate(arena.view(np.uint8).reshape(count, -1)):
        record[:: 400 // (i + 1) ** 4 or 1] = i + 1
    return arena


def test_views_of_one_entity_do_not_touch_each_other(server, store):
    client = server[0]
    state, frauds = VIEWS[0], VIEWS[1]
    assert state.entity == frauds.entity == "card"
    client.execute_command(*hset(state, "both", EVENT_MS, b"state", *_scalars(state)))
    client.execute_command(*hset(frauds, "both", EVENT_MS, b"frauds", *_scalars(frauds)))
    stored = client.execute_command(*hmget("card", "both", state, frauds))
    assert [unpack_bytes(value) for value in stored] == [b"state", None, b"frauds"]
    service = store[0].get_feature_service(ONLINE_SERVICE)
    row = {"card_id": "both", "merchant_id": "m", "device_id": "d", "ip": "i", "customer_id": "c"}
    found = store[0].get_online_features(service, [row], full_feature_names=True).to_dict()
    assert found["card_state__profile"] == [b"state"] and found["card_frauds__profile"] == [b"frauds"]
    assert found["merchant_state__profile"] == [None]


def test_history_is_joined_as_of_each_moment(store):
    def refuse(record: object, reason: str) -> None:
        raise AssertionError(f"{record} refused: {reason}")

    archive = Archive(store[1], refuse)
    # card-1 pays as number 1, 8 and 15; a day lies between payments
    day_ms = 86_400_000
    archive.add([features(n, event_ms=START_MS + n * day_ms) for n in range(16)], 0.0)
    archive.close()
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    moments = [
        start,
        start + timedelta(days=1),
        start + timedelta(days=7.5),
        start + timedelta(days=8),
        start + timedelta(days=99),
    ]
    asked = pd.DataFrame({"card_id": ["card-1"] * 5, "event_timestamp": moments})
    columns = [f"{HISTORY_VIEW}:{name}" for name in ("transaction_id", NAMES[0], NAMES[-1])]
    found = store[0].get_historical_features(asked, columns).to_df().sort_values("event_timestamp")
    # Feast's Dask store leaves out a row whose card has only later payments; what matters is that it sees none of them
    found = found[found["event_timestamp"] > start]
    assert list(found["transaction_id"]) == ["tx-1", "tx-1", "tx-8", "tx-15"]
    assert list(found[NAMES[0]]) == [1.0, 1.0, 8.0, 15.0]
    assert list(found[NAMES[-1]]) == [n + len(NAMES) - 1.0 for n in (1, 1, 8, 15)]
    service = store[0].get_feature_service(HISTORY_SERVICE)
    everything = store[0].get_historical_features(asked, service).to_df()
    assert set(NAMES) <= set(everything.columns)


def test_applying_again_changes_nothing_and_keeps_what_was_written(server, store, tmp_path):
    feast_dir = Path(store[0].repo_path)
    view = VIEWS[0]
    server[0].execute_command(*hset(view, "kept", EVENT_MS, b"here", *_scalars(view)))
    started = time.monotonic()
    apply_repo(feast_dir, f"127.0.0.1:{server[1]}", store[1])
    assert time.monotonic() - started < 10
    stored, _ = server[0].execute_command(*hmget("card", "kept", view))
    assert unpack_bytes(stored) == b"here"
    with pytest.raises(FeastError, match="another project"):
        apply_repo(tmp_path, "127.0.0.1:1", tmp_path, project="other")
    with pytest.raises(FeastError, match="no feature store"):
        open_store(tmp_path / "nothing")
