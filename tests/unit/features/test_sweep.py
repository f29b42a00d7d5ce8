"""State of who is silent for 60 days goes; of who pays nothing does, whatever happens meanwhile."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from hiredis import ReplyError

from features.profile.codec import encode_profiles
from features.profile.records import new_arena
from features.store.keys import key, position_key
from features.store.redis_client import StoreUnavailable
from features.store.sweep import DAY_S, KEEP_DAYS, STEP_KEYS, Sweep, day_of
from features.store.views import CARD_STATE, DEVICE_STATE, VIEWS
from tests.support.parity_world import MemoryRedis

TODAY = 20_800
NOW_S = TODAY * DAY_S + 40_000.0


class Store(MemoryRedis):
    """With scans that give ``step`` keys at a time, and transactions that fail when a watched key was written."""

    step = 3

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.watched: dict[bytes, Any] = {}
        #: done once, right after keys are watched
        self.meanwhile: list[Any] = []
        self.refused: Exception | None = None
        #: what DBSIZE says; how many keys each SCAN was to look at; keys that cannot be read
        self.size, self.counts = 0, list[int]()
        self.unreadable: set[bytes] = set()

    def call(self, commands: Any) -> list[Any]:
        if self.away:
            raise StoreUnavailable("away")
        if ("EXEC",) in commands:
            failed = any(self.values.get(name.decode()) != held for name, held in self.watched.items())
            self.watched.clear()
            if failed:
                return [*[b"QUEUED"] * (len(commands) - 1), None]
        replies = super().call(commands)
        if commands[0][0] == "WATCH":
            self.watched = {name: self.values.get(name.decode()) for name in commands[0][1:]}
            while self.meanwhile:
                super().call([self.meanwhile.pop()])
        return replies

    def _one(self, command: Any) -> Any:
        if command[0] == "SCAN" and self.refused:
            return self.refused
        if command[0] == "DBSIZE":
            return self.size
        if command[0] == "GETRANGE" and _bytes(command[1]) in self.unreadable:
            return ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
        if command[0] == "SCAN":
            self.counts.append(command[5])
            found = sorted(name for name in self.values if fnmatchcase(name, command[3]))
            start = int(command[1])
            more = start + self.step < len(found)
            cursor = str(start + self.step).encode() if more else b"0"
            return [cursor, [name.encode() for name in found[start : start + self.step]]]
        return super()._one(command)


def _bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name


def profile(view: Any, day: int) -> bytes:
    return encode_profiles(new_arena(view.dtype, 1), np.array([0]), day)[0]


def write(view: Any, name: str, day: int, version: int = 1) -> tuple[Any, ...]:
    return ("SET", key(view, name, 2, version), profile(view, day))


def swept(store: Store, steps: int = 40, now_s: float = NOW_S) -> int:
    client: Any = store
    sweep = Sweep(client, lambda: now_s)
    return sum(sweep.step() for _ in range(steps))


def test_silent_profiles_of_every_view_and_version_go_and_nothing_else() -> None:
    store = Store()
    others = {
        position_key("transactions", 0, "v1"): b"40", "{t0}v1:epoch": b"3", "tollgate:edge:{t1}v1:card:x": profile(CARD_STATE, 0),
        "{e0}v1:said:card:c:}v1:card:x": b"1:2:3", key(CARD_STATE, "newer", 2).decode(): b"\xff" * 40,
        key(CARD_STATE, "short", 2).decode(): b"\x01",
    }  # fmt: skip
    store.values.update(others)
    for view in VIEWS:
        for version in (1, 2):
            store.call(
                [
                    write(view, "silent", TODAY - KEEP_DAYS - 1, version),
                    write(view, "kept", TODAY - KEEP_DAYS, version),
                ]
            )
    assert swept(store) == 2 * len(VIEWS)
    left = {key(view, "kept", 2, version).decode() for view in VIEWS for version in (1, 2)}
    assert set(store.values) == left | set(others)
    # a day later they are silent too
    assert swept(store, now_s=NOW_S + DAY_S) == 2 * len(VIEWS)
    assert set(store.values) == set(others)


def test_who_pays_while_the_sweep_looks_stays() -> None:
    store = Store()
    store.call([write(CARD_STATE, "silent", 5)])
    client: Any = store
    sweep = Sweep(client, lambda: NOW_S)
    assert sweep.step() == 0
    # between the look and the second one
    paid = write(CARD_STATE, "silent", TODAY)
    store.call([paid])
    assert sweep.step() == 0
    # between the second look and the end
    store.call([write(CARD_STATE, "silent", 5)])
    store.meanwhile = [paid]
    assert swept(store) == 0
    assert store.values == {paid[1].decode(): paid[2]}


def test_a_store_that_is_away_or_refuses_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    for i in range(7):
        store.call([write(DEVICE_STATE, f"d-{i}", 5)])
    client: Any = store
    sweep = Sweep(client, lambda: NOW_S)
    sweep.step()
    store.away = True
    assert [sweep.step() for _ in range(3)] == [0, 0, 0]
    # said once, not each second
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "profiles of silent entities are not deleted until the store answers: away"
    ]
    store.away = False
    store.refused = ReplyError("NOPERM this user has no permissions")
    assert sweep.step() == 0
    store.refused = None
    assert sum(sweep.step() for _ in range(20)) == 7 and not store.values


@pytest.mark.parametrize("keys", [0, 3, 100])
def test_a_step_looks_at_no_more_than_it_was_given(keys: int) -> None:
    store = Store()
    for i in range(keys):
        store.call([write(CARD_STATE, f"c-{i}", TODAY)])
    asked: list[int] = []
    call = store.call

    def counting(commands: Any) -> list[Any]:
        asked.append(len(commands))
        return call(commands)

    store.call = counting  # type: ignore[method-assign]
    assert swept(store, 60) == 0
    # one round a step: the last keys' headers, the store's size, and the next keys
    assert len(asked) == 60 and max(asked) <= 2 + store.step
    assert sum(asked) - 2 * 60 >= keys


def test_a_large_store_is_passed_in_a_day_all_the_same() -> None:
    store = Store()
    swept(store, 2)
    assert store.counts == [STEP_KEYS, STEP_KEYS]
    store.size, store.counts = 1_000 * DAY_S, []
    swept(store, 3)
    assert store.counts == [STEP_KEYS, 1_000, 1_000]


def test_a_key_that_cannot_be_read_stays_and_holds_up_no_other() -> None:
    store = Store()
    store.call([write(CARD_STATE, name, 5) for name in ("a", "b", "c")])
    store.unreadable = {key(CARD_STATE, "b", 2)}
    assert swept(store) == 2
    assert set(store.values) == {key(CARD_STATE, "b", 2).decode()}


def test_days_are_counted_from_1970() -> None:
    assert [day_of(0.0), day_of(DAY_S - 0.1), day_of(NOW_S)] == [0, 0, TODAY]
