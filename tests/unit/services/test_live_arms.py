"""A replica with two arms: loads both before it decides, changes shares and goes back at once, and does without a challenger that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from features.transaction import epoch_ms
from services.scoring.model import live as live_model
from services.scoring.model.live import TOGETHER_MS, LiveModel
from streams.contracts.rollout import RolloutRecord
from streams.runtime.settings import Settings
from tests.support.bad_bundles import corrupt, rollout
from tests.support.bundle_samples import CREATED, publish_sample
from tests.support.waiting import STALL_S, until

SALT = "5a17"


def canary(
    sequence: int, share: float = 0.05, *, old: str = "1.0.0", new: str = "2.0.0", **more: Any
) -> RolloutRecord:
    return msgspec.structs.replace(
        rollout(old, sequence), arms={"champion": old, "challenger": new},
        traffic={"champion": 1 - share, "challenger": share}, state="canary", salt=SALT, **more,
    )  # fmt: skip


def sequences() -> dict[str, float | None]:
    name = "tollgate_rollout_sequence"
    return {what: REGISTRY.get_sample_value(name, {"outcome": what}) for what in ("served", "refused")}


def shown(version: str, arm: str) -> float | None:
    return REGISTRY.get_sample_value("tollgate_model_info", {"version": version, "arm": arm})


class Gate:
    """Stands before the loading of one version, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        load = live_model.load_bundle

        def gated(path: Path, trusted: Path) -> Any:
            if path.name == version:
                self.reached.set()
                assert self.opened.wait(STALL_S)
            return load(path, trusted)

        monkeypatch.setattr(live_model, "load_bundle", gated)


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Gate]]:
    made: list[Gate] = []

    def shut(version: str) -> Gate:
        made.append(Gate(monkeypatch, version))
        return made[-1]

    yield shut
    for gate in made:
        gate.opened.set()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("arms")
    for version in ("1.0.0", "2.0.0"):
        publish_sample(home, version)
    corrupt(publish_sample(home, "3.0.0")[0])
    return home


def live_on(home: Path, *records: RolloutRecord, **loading: float) -> LiveModel:
    live = LiveModel(Settings(home=str(home)), threading.Event(), lambda *_: None, **loading)
    for record in records:
        live.apply(record)
        assert live.settled.wait(STALL_S)
    return live


def test_a_replica_that_starts_in_a_rollout_decides_nothing_before_it_has_both(
    home: Path, shut: Callable[[str], Gate]
) -> None:
    gate = shut("2.0.0")
    live = LiveModel(Settings(home=str(home)), threading.Event(), lambda *_: None)
    live.apply(canary(4))
    assert gate.reached.wait(STALL_S)
    assert not live.settled.is_set()
    # whoever asks all the same gets the champion's word
    assert live.serving.versions == {"champion": "1.0.0"}
    gate.opened.set()
    assert live.settled.wait(STALL_S)
    assert live.serving.versions == {"champion": "1.0.0", "challenger": "2.0.0"}
    found = live.serving.challenger
    assert found is not None and (found.share, found.salt, found.shadow) == (0.05, SALT, False)
    assert sequences()["served"] == 4
    assert (shown("1.0.0", "champion"), shown("2.0.0", "challenger")) == (1, 1)
    assert REGISTRY.get_sample_value("tollgate_challenger_share") == 0.05


def test_shares_change_and_the_way_back_is_taken_at_once(home: Path, shut: Callable[[str], Gate]) -> None:
    live = live_on(home, canary(1, 0.0, shadow=True), after_s=STALL_S)
    both = live.serving.scorers
    live.apply(canary(2, 0.25))
    found = live.serving.challenger
    assert found is not None and (found.share, found.shadow, live.serving.scorers) == (0.25, False, both)
    # a load that hangs is not waited for
    gate = shut("2.0.1")
    live.apply(canary(3, new="2.0.1"))
    live._stop.set()
    assert gate.reached.wait(STALL_S)
    live.apply(rollout("1.0.0", 4))
    assert (live.serving.versions, live.serving.champion) == ({"champion": "1.0.0"}, both[0])
    assert (shown("2.0.0", "challenger"), sequences()["served"]) == (0, 4)
    gate.opened.set()
    until(lambda: not live._loader._loading, STALL_S, "the load that nobody asks for any more")
    assert live.serving.versions == {"champion": "1.0.0"}


def test_a_growing_share_begins_at_one_moment_for_all_replicas(home: Path) -> None:
    cards = [f"card-{number}" for number in range(200)]

    def rows(live: LiveModel, received_ms: int) -> list[int]:
        found = live.serving.challenger
        assert found is not None
        return found.rows_of(cards, [received_ms] * len(cards))

    since = CREATED + timedelta(days=1)
    since_ms = epoch_ms(since)
    live = live_on(home, canary(1, 0.1))
    few = rows(live, since_ms)
    live.apply(canary(2, 0.6, since=since))
    # not yet, for what was received before all replicas know it
    assert rows(live, since_ms + TOGETHER_MS - 1) == few
    many = rows(live, since_ms + TOGETHER_MS)
    assert set(few) < set(many)
    # one that starts later knows only what holds now
    assert rows(live_on(home, canary(2, 0.6, since=since)), since_ms + TOGETHER_MS) == many
    # less of a challenger is served at once
    live.apply(canary(3, 0.1, since=since))
    assert rows(live, since_ms) == rows(live, since_ms + TOGETHER_MS) == few


def test_a_challenger_is_promoted_and_undone_without_loading(home: Path) -> None:
    live = live_on(home, canary(1), after_s=STALL_S)
    old, new = live.serving.scorers
    live.apply(rollout("2.0.0", 2))
    assert live.serving.scorers == [new]
    assert (shown("1.0.0", "champion"), shown("2.0.0", "champion")) == (0, 1)
    live.apply(rollout("1.0.0", 3))
    assert live.serving.scorers == [old]


def test_without_a_challenger_that_cannot_be_loaded_the_champion_decides(home: Path) -> None:
    refused = {"reason": "hash"}
    before = REGISTRY.get_sample_value("tollgate_bundle_refused_total", refused) or 0.0
    live = live_on(home, rollout("1.0.0", 1))
    live.apply(canary(2, new="3.0.0"))
    until(lambda: sequences()["refused"] == 2, STALL_S, "the refusal")
    assert live.serving.versions == {"champion": "1.0.0"}
    # who rolls it out waits for `served`, and reads why not
    assert sequences()["served"] == 1
    assert "3.0.0 was refused (hash)" in live.problem
    assert REGISTRY.get_sample_value("tollgate_bundle_refused_total", refused) == before + 1
    # the same when a replica starts with it, and it goes on with the next record
    again = live_on(home, canary(2, new="3.0.0"))
    assert again.serving.versions == {"champion": "1.0.0"}
    again.apply(rollout("1.0.0", 3))
    assert sequences()["served"] == 3


def test_a_salt_that_cannot_be_used_is_refused_with_its_challenger(home: Path) -> None:
    live = live_on(home, msgspec.structs.replace(canary(1), salt="s" * 65))
    assert live.serving.versions == {"champion": "1.0.0"}
    assert (sequences()["refused"], "2.0.0 was refused (failed)" in live.problem) == (1, True)


def test_a_replica_whose_challenger_hangs_serves_the_champion_in_time(
    home: Path, shut: Callable[[str], Gate]
) -> None:
    gate = shut("2.0.0")
    live = LiveModel(Settings(home=str(home)), threading.Event(), lambda *_: None, within_s=0.05)
    live.apply(canary(7))
    assert live.settled.wait(STALL_S)
    until(lambda: live.serving.versions == {"champion": "1.0.0"}, STALL_S, "the champion")
    assert sequences()["refused"] == 7
    gate.opened.set()
    until(lambda: len(live.serving.versions) == 2, STALL_S, "the challenger, once it is ready")
