"""The live model: a bundle that does not do leaves the last good one serving and is counted; a swap lies between batches."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from models.bundle.content import Bundle, load_bundle
from models.scoring.scorer import Scorer
from services.scoring.decision.decider import Case, Decider
from services.scoring.model import live as live_model
from services.scoring.model.live import LiveModel
from services.scoring.model.loader import MAX_HANGING, USUAL_TURN_S, Loaded
from services.scoring.model.serving import Serving
from streams.runtime.settings import Settings
from tests.support.archive_samples import START_MS, transaction
from tests.support.bad_bundles import (
    bundle_of_another_version,
    corrupt,
    cut_short,
    hash_of_another,
    no_model,
    other_catalogue,
    rollout,
    signed_by_another,
    unsigned,
)
from tests.support.bundle_samples import publish_sample
from tests.support.models_data import make_dataset
from tests.support.waiting import STALL_S, until

FOREVER_S = 10 * STALL_S


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("tollgate_bundle_refused_total", {"reason": reason}) or 0.0


def served(version: str) -> float | None:
    return REGISTRY.get_sample_value("tollgate_model_info", {"version": version, "arm": "champion"})


class Gate:
    """Stands before a replica's loading and lets it through, or not; ``loaded``: the versions that came to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shut: dict[str, threading.Event] = {}
        self.loaded: list[str] = []

        def gated(path: Path, trusted: Path) -> Bundle:
            self.loaded.append(path.name)
            if path.name in self.shut:
                assert self.shut[path.name].wait(STALL_S)
            return load_bundle(path, trusted)

        monkeypatch.setattr(live_model, "load_bundle", gated)

    def close(self, version: str) -> None:
        self.shut[version] = threading.Event()

    def open(self, version: str) -> None:
        self.shut[version].set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    for version in made.shut:
        made.open(version)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    publish_sample(tmp_path, "1.0.0")
    return tmp_path


def live_on(home: Path, within_s: float = FOREVER_S) -> LiveModel:
    live = LiveModel(Settings(home=str(home)), threading.Event(), lambda *_: None, within_s=within_s)
    live.apply(rollout("1.0.0", 1))
    until(lambda: live.version == "1.0.0", STALL_S, "the first bundle")
    return live


def republish(home: Path, change: Callable[[Path], None], version: str = "2.0.0") -> Path:
    path, _ = publish_sample(home, version)
    change(path)
    return path


BAD = [
    (corrupt, "hash"), (cut_short, "hash"), (hash_of_another, "hash"), (unsigned, "missing"),
    (signed_by_another, "signature"), (bundle_of_another_version, "signature"), (other_catalogue, "catalogue"),
    (no_model, "unparsable"), (shutil.rmtree, "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), BAD, ids=[change.__name__ for change, _ in BAD])
def test_a_bad_bundle_leaves_the_last_good_one_serving_and_is_counted(
    home: Path, change: Callable[[Path], None], reason: str
) -> None:
    live = live_on(home)
    republish(home, change)
    good, before = live.scorer, refused(reason)
    live.apply(rollout("2.0.0", 2))
    until(lambda: refused(reason) == before + 1, STALL_S, f"a refusal: {reason}")
    assert live.scorer is good
    assert "2.0.0" in live.problem and reason in live.problem
    assert served("1.0.0") == 1
    # the way on is open
    publish_sample(home, "3.0.0")
    live.apply(rollout("3.0.0", 3))
    until(lambda: live.version == "3.0.0", STALL_S, "a good bundle after a bad one")
    assert (served("1.0.0"), served("3.0.0")) == (0, 1)


def test_a_bundle_that_loads_and_cannot_score_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = live_on(home)
    good, before = live.scorer, refused("failed")
    publish_sample(home, "2.0.0")

    def broken(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Scorer, "warm", broken)
    live.apply(rollout("2.0.0", 2))
    until(lambda: refused("failed") == before + 1, STALL_S, "a refusal")
    assert live.scorer is good


def test_a_slow_bundle_is_reported_and_served_when_it_is_ready(home: Path, gate: Gate) -> None:
    live = live_on(home, within_s=0.05)
    publish_sample(home, "2.0.0")
    gate.close("2.0.0")
    before = refused("slow")
    live.apply(rollout("2.0.0", 2))
    until(lambda: refused("slow") > before, STALL_S, "a report")
    assert live.version == "1.0.0"
    assert "2.0.0" in live.problem
    gate.open("2.0.0")
    until(lambda: live.version == "2.0.0", STALL_S, "the slow bundle")


def test_the_way_back_is_not_blocked_by_a_slow_bundle(home: Path, gate: Gate) -> None:
    live = live_on(home, within_s=0.05)
    for version in ("2.0.0", "3.0.0"):
        publish_sample(home, version)
    gate.close("2.0.0")
    live.apply(rollout("2.0.0", 2))
    live.apply(rollout("3.0.0", 3))
    until(lambda: live.version == "3.0.0", STALL_S, "the newer bundle while the older hangs")
    gate.open("2.0.0")
    until(lambda: not live._loader._loading, STALL_S, "the slow load to end")
    assert live.version == "3.0.0", "what nobody asks for any more is not served"


def test_only_the_newest_of_many_is_loaded(home: Path, gate: Gate) -> None:
    live = live_on(home)
    versions = [f"2.0.{number}" for number in range(6)]
    for version in versions:
        publish_sample(home, version)
    gate.close(versions[0])
    for number, version in enumerate(versions):
        live.apply(rollout(version, number + 2))
    gate.open(versions[0])
    until(lambda: live.version == versions[-1], STALL_S, "the newest")
    assert gate.loaded == ["1.0.0", versions[0], versions[-1]]
    live.apply(rollout(versions[0], 3))
    assert not live._loader._loading, "an older record than the one served is not applied"


def test_hanging_loads_are_bounded(home: Path, gate: Gate) -> None:
    live = live_on(home, within_s=0.02)
    for number in range(MAX_HANGING + 1):
        gate.close(f"2.0.{number}")
        before = refused("slow")
        live.apply(rollout(f"2.0.{number}", number + 2))
        until(lambda before=before: refused("slow") > before, STALL_S, "a report")
    assert len(live._loader._loading) == MAX_HANGING
    assert "restart" in live.problem
    assert live.version == "1.0.0"


def test_while_a_bundle_loads_other_threads_get_the_interpreter_sooner(home: Path, gate: Gate) -> None:
    live = live_on(home)
    publish_sample(home, "2.0.0")
    gate.close("2.0.0")
    live.apply(rollout("2.0.0", 2))
    until(lambda: sys.getswitchinterval() < USUAL_TURN_S, STALL_S, "shorter turns")
    gate.open("2.0.0")
    until(
        lambda: live.version == "2.0.0" and sys.getswitchinterval() == USUAL_TURN_S,
        STALL_S,
        "usual turns again",
    )


def test_a_replica_that_serves_loads_a_little_later_and_one_that_does_not_at_once(home: Path) -> None:
    publish_sample(home, "2.0.0")
    stop = threading.Event()
    live = LiveModel(Settings(home=str(home)), stop, lambda *_: None, after_s=FOREVER_S)
    live.apply(rollout("1.0.0", 1))
    until(lambda: live.version == "1.0.0", STALL_S, "the first bundle, at once")
    live.apply(rollout("2.0.0", 2))
    until(lambda: live._loader._loading, STALL_S, "the second, under way")
    assert live.version == "1.0.0"
    stop.set()
    until(lambda: live.version == "2.0.0", STALL_S, "the second")


def test_each_decision_is_made_wholly_by_one_version(home: Path) -> None:
    """Batches are decided while another thread swaps without pause; version, policy and score must belong together."""
    first = Scorer(load_bundle(home / "bundles/fraud/1.0.0", home / "keys/trusted"), measure=False)
    shifted = dataclasses.replace(
        first.bundle, version="2.0.0", policy=msgspec.structs.replace(first.policy, version="2"),
        calibration=msgspec.structs.replace(first.bundle.calibration, intercept=3.0),
    )  # fmt: skip
    both = {scorer.version: scorer for scorer in (first, Scorer(shifted, measure=False))}
    live = live_on(home)
    matrix = make_dataset(64).matrix
    expected = {version: np.round(scorer.score(matrix).astype(float), 6) for version, scorer in both.items()}
    cases = [Case(transaction(i, START_MS), START_MS, START_MS, 0) for i in range(len(matrix))]
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for number, scorer in enumerate(both.values()):
                live._serve(rollout(scorer.version, number), Loaded(Serving(scorer)))

    swapping = threading.Thread(target=swap, daemon=True)
    live.serving = Serving(first)
    swapping.start()
    decider, versions = Decider(clock=lambda: START_MS / 1000), set()
    end = time.monotonic() + STALL_S
    while versions != set(both) or len(versions) < 2:
        assert time.monotonic() < end, f"only {versions} were seen"
        for _ in range(20):
            decided = decider.decide(cases, matrix, live.scorer)
            [version] = {decision.model_version for decision in decided}
            versions.add(version)
            assert {decision.policy_version for decision in decided} == {both[version].policy.version}
            np.testing.assert_allclose([d.score for d in decided], expected[version], atol=2e-6)
    done.set()
    swapping.join(STALL_S)
