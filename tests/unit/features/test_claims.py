"""What a worker compares before it writes: epoch, position, and where its chunk begins."""

from __future__ import annotations

from typing import Any

import pytest
from hiredis import ReplyError

from features.store.keys import GROUP, epoch_key, position_key
from features.store.partition_lease import ChunkOutOfOrder, LeaseLost, Leases, StateRegressed
from features.store.redis_client import StoreFull, StoreUnavailable

PLACE = ("transactions", 0)
EPOCH, POSITION = epoch_key(*PLACE, GROUP), position_key(*PLACE, GROUP)


class Store:
    """Epochs and positions as Redis holds them; EXEC always happens."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def with_retry(self, commands: list[Any]) -> list[Any]:
        return [self._one(*command) for command in commands]

    call = with_retry

    def _one(self, name: str, *args: Any) -> Any:
        if name == "INCR":
            self.values[args[0]] = str(int(self.values.get(args[0], b"0")) + 1).encode()
            return int(self.values[args[0]])
        if name == "SET":
            self.values[args[0]] = str(args[1]).encode()
        if name == "GET":
            return self.values.get(args[0])
        if name == "MGET":
            return [self.values.get(key) for key in args]
        return []


def _leased(position: int) -> tuple[Store, Leases]:
    store = Store()
    store.values[POSITION] = str(position).encode()
    client: Any = store
    leases = Leases(client, GROUP)
    assert leases.lease([PLACE]) == {PLACE: position}
    return store, leases


def _check(store: Store, leases: Leases, **starts: Any) -> None:
    leases.check([PLACE], store.with_retry(leases.guard([PLACE])), **starts)


def test_a_chunk_that_goes_on_from_the_claimed_position_is_let_through() -> None:
    store, leases = _leased(40)
    _check(store, leases, starts={PLACE: 40})
    leases.commit([PLACE], [], {PLACE: 47})
    _check(store, leases, starts={PLACE: 47})
    # who does not say where a chunk begins is not asked
    _check(store, leases)
    _check(store, leases, starts={})


@pytest.mark.parametrize("start", [39, 41])
def test_a_chunk_that_does_not_go_on_from_the_claimed_position_is_refused(start: int) -> None:
    store, leases = _leased(40)
    with pytest.raises(ChunkOutOfOrder, match=f"begins at {start}, the state ends at 40"):
        _check(store, leases, starts={PLACE: start})


class FullStore(Store):
    """Refuses a number of transactions for want of room, as Redis does: each write when it is queued, then EXEC."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def call(self, commands: list[Any]) -> list[Any]:  # type: ignore[override]
        if commands[0] == ("MULTI",) and self.refusals:
            self.refusals -= 1
            no_room = ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
            aborted = ReplyError("EXECABORT Transaction discarded because of previous errors.")
            return [b"OK", *[no_room] * (len(commands) - 2), aborted]
        return self.with_retry(commands)


def _leased_full(refusals: int) -> tuple[FullStore, Leases]:
    store = FullStore(refusals)
    client: Any = store
    leases = Leases(client, GROUP)
    leases.lease([PLACE])
    return store, leases


def test_a_store_without_room_is_told_from_one_that_is_away_and_nothing_has_changed() -> None:
    store, leases = _leased_full(1)
    with pytest.raises(StoreFull, match="OOM"):
        leases.write([PLACE], {PLACE: 0}, [("SET", "profile", b"1")], {PLACE: 5})
    assert leases.positions([PLACE]) == {PLACE: 0}
    assert "profile" not in store.values
    leases.write([PLACE], {PLACE: 0}, [("SET", "profile", b"1")], {PLACE: 5})
    assert (store.values["profile"], store.values[POSITION]) == (b"b'1'", b"5")


def test_who_has_time_waits_for_room() -> None:
    store, leases = _leased_full(2)
    leases.commit_once_there_is_room([PLACE], [("SET", "profile", 1)], {PLACE: 5})
    assert (store.refusals, store.values[POSITION]) == (0, b"5")


def test_a_position_beyond_this_workers_own_is_anothers() -> None:
    store, leases = _leased(40)
    store.values[POSITION] = b"41"
    with pytest.raises(LeaseLost, match="beyond 40"):
        _check(store, leases)


@pytest.mark.parametrize("lost", ["position", "epoch"])
def test_a_store_that_lost_its_last_writes_is_noticed_without_a_chunk(lost: str) -> None:
    store, leases = _leased(40)
    leases.verify()
    leases.commit([PLACE], [], {PLACE: 47})
    leases.verify()
    store.values[{"position": POSITION, "epoch": EPOCH}[lost]] = b"0"
    with pytest.raises(StateRegressed, match="transactions"):
        leases.verify()


def test_a_store_that_lost_everything_is_noticed_without_a_chunk() -> None:
    store, leases = _leased(40)
    store.values.clear()
    with pytest.raises(StateRegressed):
        leases.verify()


def test_partitions_that_moved_on_and_a_store_that_is_away_are_no_loss() -> None:
    store, leases = _leased(40)
    # another worker has it and goes on, or starts from further back
    store.values[EPOCH] = b"2"
    for position in (b"41", b"39"):
        store.values[POSITION] = position
        leases.verify()

    def away(_commands: list[Any]) -> list[Any]:
        raise StoreUnavailable("away")

    store.call = away  # type: ignore[method-assign]
    leases.verify()


def test_who_holds_nothing_asks_nothing() -> None:
    client: Any = None
    Leases(client, GROUP).verify()


def test_a_position_behind_and_an_epoch_that_moved_are_told_apart() -> None:
    store, leases = _leased(40)
    store.values[POSITION] = b"39"
    with pytest.raises(StateRegressed):
        _check(store, leases)
    store.values[EPOCH] = b"2"
    with pytest.raises(LeaseLost, match="another worker"):
        _check(store, leases)
