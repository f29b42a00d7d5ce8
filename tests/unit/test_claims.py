"""What a worker compares before it writes: epoch, position, and where its chunk begins."""

from __future__ import annotations

from typing import Any

import pytest

from features.online.claims import ChunkOutOfOrder, ClaimLost, Claims, StateRegressed
from features.online.resp import StoreUnavailable

PLACE = ("transactions", 0)


class Store:
    """Epochs and positions as Redis holds them; EXEC always happens."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def patient(self, commands: list[Any]) -> list[Any]:
        return [self._one(*command) for command in commands]

    call = patient

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


def _claimed(position: int) -> tuple[Store, Claims]:
    store = Store()
    store.values["tollgate:processor:position:transactions:0"] = str(position).encode()
    client: Any = store
    claims = Claims(client, "processor")
    assert claims.claim([PLACE]) == {PLACE: position}
    return store, claims


def _check(store: Store, claims: Claims, **starts: Any) -> None:
    claims.check([PLACE], store.patient(claims.guard([PLACE])), **starts)


def test_a_chunk_that_goes_on_from_the_claimed_position_is_let_through() -> None:
    store, claims = _claimed(40)
    _check(store, claims, starts={PLACE: 40})
    claims.commit([PLACE], [], {PLACE: 47})
    _check(store, claims, starts={PLACE: 47})
    # who does not say where a chunk begins is not asked
    _check(store, claims)
    _check(store, claims, starts={})


@pytest.mark.parametrize("start", [39, 41])
def test_a_chunk_that_does_not_go_on_from_the_claimed_position_is_refused(start: int) -> None:
    store, claims = _claimed(40)
    with pytest.raises(ChunkOutOfOrder, match=f"begins at {start}, the state ends at 40"):
        _check(store, claims, starts={PLACE: start})


def test_a_position_beyond_this_workers_own_is_anothers() -> None:
    store, claims = _claimed(40)
    store.values["tollgate:processor:position:transactions:0"] = b"41"
    with pytest.raises(ClaimLost, match="beyond 40"):
        _check(store, claims)


@pytest.mark.parametrize("lost", ["position", "epoch"])
def test_a_store_that_lost_its_last_writes_is_noticed_without_a_chunk(lost: str) -> None:
    store, claims = _claimed(40)
    claims.verify()
    claims.commit([PLACE], [], {PLACE: 47})
    claims.verify()
    store.values[f"tollgate:processor:{lost}:transactions:0"] = b"0"
    with pytest.raises(StateRegressed, match="transactions"):
        claims.verify()


def test_a_store_that_lost_everything_is_noticed_without_a_chunk() -> None:
    store, claims = _claimed(40)
    store.values.clear()
    with pytest.raises(StateRegressed):
        claims.verify()


def test_partitions_that_moved_on_and_a_store_that_is_away_are_no_loss() -> None:
    store, claims = _claimed(40)
    # another worker has it and goes on, or starts from further back
    store.values["tollgate:processor:epoch:transactions:0"] = b"2"
    for position in (b"41", b"39"):
        store.values["tollgate:processor:position:transactions:0"] = position
        claims.verify()

    def away(_commands: list[Any]) -> list[Any]:
        raise StoreUnavailable("away")

    store.call = away  # type: ignore[method-assign]
    claims.verify()


def test_who_holds_nothing_asks_nothing() -> None:
    client: Any = None
    Claims(client, "processor").verify()


def test_a_position_behind_and_an_epoch_that_moved_are_told_apart() -> None:
    store, claims = _claimed(40)
    store.values["tollgate:processor:position:transactions:0"] = b"39"
    with pytest.raises(StateRegressed):
        _check(store, claims)
    store.values["tollgate:processor:epoch:transactions:0"] = b"2"
    with pytest.raises(ClaimLost, match="another worker"):
        _check(store, claims)
