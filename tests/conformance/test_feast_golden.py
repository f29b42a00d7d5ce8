"""What the installed Feast writes into Redis, byte for byte, against constants; no server is needed.

Both sides of ``tests/conformance/test_feast.py`` could move together without its noticing; state in production would not. The
constants were made once, by Feast ``MADE_WITH``, and stand for what production holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore
from feast.infra.online_stores.redis import RedisOnlineStore

from features.feast_repo.apply import apply_repo, open_store
from features.store.keys import JOIN_KEYS, VIEWS, View, entity_key, hset, unpack_bytes

MADE_WITH = "0.67.0"
WHAT_TO_DO = f"""
Feast {version("feast")} does not store what Feast {MADE_WITH} did, so it does not find what is in Redis, and its users do not find what
the processor writes. Either keep {MADE_WITH} (infra/requirements/main.in), or change features/store/keys.py and wire.py and these
constants with it, and say in the release that `tollgate features rebuild --clear` follows the upgrade: it writes all state anew."""
REQUIREMENTS = Path(__file__).parents[2] / "infra" / "requirements"

ID = "é-1"
#: entity -> key of ID: one join key; type string, length and text of its name; type string, length and text of the id; project
KEYS = {
    "card": b"\x01\0\0\0" b"\x02\0\0\0" b"\x07\0\0\0card_id" b"\x02\0\0\0" b"\x04\0\0\0\xc3\xa9-1" b"tollgate",
    "merchant": b"\x01\0\0\0" b"\x02\0\0\0" b"\x0b\0\0\0merchant_id" b"\x02\0\0\0" b"\x04\0\0\0\xc3\xa9-1" b"tollgate",
    "device": b"\x01\0\0\0" b"\x02\0\0\0" b"\x09\0\0\0device_id" b"\x02\0\0\0" b"\x04\0\0\0\xc3\xa9-1" b"tollgate",
    "ip": b"\x01\0\0\0" b"\x02\0\0\0" b"\x02\0\0\0ip" b"\x02\0\0\0" b"\x04\0\0\0\xc3\xa9-1" b"tollgate",
    "customer": b"\x01\0\0\0" b"\x02\0\0\0" b"\x0b\0\0\0customer_id" b"\x02\0\0\0" b"\x04\0\0\0\xc3\xa9-1" b"tollgate",
}  # fmt: skip
#: view -> its features' hash fields, murmur3 of "view:feature", and the field of its event timestamp
FIELDS = {
    "card_state": (
        {"profile": "69ab5b5c", "since": "eaaa49e3", "count_24h": "ca00ac67", "sum_24h_minor": "bee523e7"},
        b"_ts:card_state",
    ),
    "card_frauds": ({"profile": "a1044abe", "frauds_30d": "25aa17bb"}, b"_ts:card_frauds"),
    "merchant_state": (
        {"profile": "6ba9fb7b", "since": "3f384a8d", "count_24h": "25bef297"}, b"_ts:merchant_state",
    ),
    "device_state": ({"profile": "0e96e2ee", "count_24h": "68689fd2"}, b"_ts:device_state"),
    "ip_state": ({"profile": "e767dea7", "count_24h": "20fb8926"}, b"_ts:ip_state"),
    "customer_state": (
        {"profile": "6fbd1b97", "since": "5bb7b726", "count_24h": "ebb42578"}, b"_ts:customer_state",
    ),
    "customer_frauds": ({"profile": "fc43adda", "frauds_30d": "6a8b96f8"}, b"_ts:customer_frauds"),
}  # fmt: skip
#: (bytes, feast.types.Value of them); Feast takes no bytes for null
TEXTS = [
    (b"\x00\xff", b"\x0a\x02\x00\xff"),
    (b"x" * 127, b"\x0a\x7f" + b"x" * 127),
    (b"x" * 128, b"\x0a\x80\x01" + b"x" * 128),
    (b"x" * 2048, b"\x0a\x80\x10" + b"x" * 2048),
    (b"x" * 16384, b"\x0a\x80\x80\x01" + b"x" * 16384),
]
#: (int64, feast.types.Value of it)
NUMBERS = [
    (0, b"\x20\x00"),
    (127, b"\x20\x7f"),
    (128, b"\x20\x80\x01"),
    (-3, b"\x20\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    (1_795_256_130_123, b"\x20\xcb\xb4\xea\xec\x9f\x34"),
    (2**63 - 1, b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    (-(2**63), b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
]
#: (milliseconds since 1970, google.protobuf.Timestamp of them)
MOMENTS = [
    (1_795_256_130_123, b"\x08\xc2\xde\x85\xd8\x06\x10\xc0\xa9\xd3\x3a"),
    (1_795_256_130_000, b"\x08\xc2\xde\x85\xd8\x06"),
    (1, b"\x10\xc0\x84\x3d"),
    (4_102_444_799_999, b"\x08\xff\xad\x99\xa4\x0f\x10\xc0\x8f\xae\xdc\x03"),
]
#: what Feast stores of a feature that is null
NULL = b""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Recorder:
    """A Redis that keeps what Feast's client writes; a pipeline is the client itself."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._replies: list[Any] = []

    def pipeline(self, transaction: bool) -> Recorder:
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies = []

    def hmget(self, key: bytes, fields: Any) -> None:
        stored = self.hashes.get(key, {})
        asked = [fields] if isinstance(fields, str | bytes) else fields
        self._replies.append([stored.get(f.encode() if isinstance(f, str) else f) for f in asked])

    def hset(self, key: bytes, mapping: dict[Any, bytes]) -> None:
        fields = {f.encode() if isinstance(f, str) else f: value for f, value in mapping.items()}
        self.hashes.setdefault(key, {}).update(fields)
        self._replies.append(len(fields))

    def execute(self) -> list[Any]:
        replies, self._replies = self._replies, []
        return replies


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    root = tmp_path_factory.mktemp("golden")
    apply_repo(root / "feast", "127.0.0.1:1", root / "archive")
    return open_store(root / "feast")


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder()
    monkeypatch.setattr(RedisOnlineStore, "_get_client", lambda *_: recorder)
    yield recorder


def _write(store: FeatureStore, view: View, event_ms: int, profile: bytes | None, number: int | None) -> None:
    values = {name: profile if kind == "bytes" else number for name, kind in view.fields}
    moment = _EPOCH + timedelta(milliseconds=event_ms)
    row = {JOIN_KEYS[view.entity]: ID, **values, "event_timestamp": moment, "created_timestamp": moment}
    store.write_to_online_store(view.name, pd.DataFrame([row]).astype(dict.fromkeys(values, object)))


def _hset(view: View, event_ms: int, text: bytes, number: int) -> tuple[bytes, ...]:
    """As ``_write``: one value for each type."""
    since = text if view.in_parts else None
    return hset(view, ID, event_ms, text, *[number] * len(view.numbers), since=since)


def _stored(view: View, profile: bytes, number: bytes, moment: bytes) -> dict[bytes, bytes]:
    names, timestamp = FIELDS[view.name]
    values = {"bytes": profile, "int64": number}
    return {bytes.fromhex(names[name]): values[kind] for name, kind in view.fields} | {timestamp: moment}


def test_every_pin_is_the_version_that_the_constants_were_made_with() -> None:
    assert version("feast") == MADE_WITH, WHAT_TO_DO
    for name in ("main.txt", "dev.txt"):
        pins = re.findall(r"^feast==(\S+)", (REQUIREMENTS / name).read_text(), flags=re.MULTILINE)
        assert pins == [MADE_WITH], f"{name} pins {pins}: run these tests with it. {WHAT_TO_DO}"


def test_the_constants_are_of_every_entity_view_and_field() -> None:
    assert set(KEYS) == set(JOIN_KEYS)
    assert {name: set(fields) for name, (fields, _) in FIELDS.items()} == {
        view.name: {name for name, _ in view.fields} for view in VIEWS
    }


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_feast_and_the_hot_path_write_these_bytes(store: FeatureStore, redis: Recorder, view: View) -> None:
    (profile, text), (number, digits) = TEXTS[0], NUMBERS[0]
    # later ones last: Feast writes nothing that is older than what is there
    for event_ms, moment in sorted(MOMENTS):
        _write(store, view, event_ms, profile, number)
        wanted = _stored(view, text, digits, moment)
        assert redis.hashes == {KEYS[view.entity]: wanted}, WHAT_TO_DO
        ours = _hset(view, event_ms, profile, number)
        assert (ours[1], dict(zip(ours[2::2], ours[3::2], strict=True))) == (KEYS[view.entity], wanted)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_values_of_every_type_and_size_are_these_bytes(
    store: FeatureStore, redis: Recorder, view: View
) -> None:
    event_ms, moment = MOMENTS[0]
    for (profile, text), (number, digits) in zip([*TEXTS, *TEXTS[:2]], NUMBERS, strict=True):
        redis.hashes.clear()
        _write(store, view, event_ms, profile, number)
        wanted = _stored(view, text, digits, moment)
        assert redis.hashes == {KEYS[view.entity]: wanted}, WHAT_TO_DO
        ours = _hset(view, event_ms, profile, number)
        assert dict(zip(ours[2::2], ours[3::2], strict=True)) == wanted
        assert unpack_bytes(text) == profile
        assert _read(store, view) == {n: profile if kind == "bytes" else number for n, kind in view.fields}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_null_is_stored_as_nothing_and_read_as_null(store: FeatureStore, redis: Recorder, view: View) -> None:
    (event_ms, moment), (profile, text), (number, digits) = MOMENTS[0], TEXTS[0], NUMBERS[0]
    for some, stored in (((profile, None), (text, NULL)), ((None, number), (NULL, digits))):
        redis.hashes.clear()
        _write(store, view, event_ms, *some)
        assert redis.hashes == {KEYS[view.entity]: _stored(view, *stored, moment)}, WHAT_TO_DO
        values = dict(zip(("bytes", "int64"), some, strict=True))
        assert _read(store, view) == {name: values[kind] for name, kind in view.fields}
    assert unpack_bytes(NULL) is None


@pytest.mark.parametrize("entity", JOIN_KEYS)
def test_a_key_is_these_bytes(entity: str) -> None:
    assert entity_key(entity, ID) == KEYS[entity]


def _read(store: FeatureStore, view: View) -> dict[str, Any]:
    """What Feast reads of ID from the bytes that are stored."""
    asked = [f"{view.name}:{name}" for name, _ in view.fields]
    found = store.get_online_features(asked, [{JOIN_KEYS[view.entity]: ID}]).to_dict()
    return {name: found[name][0] for name, _ in view.fields}
