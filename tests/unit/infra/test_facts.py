"""What oncall sees of the stack's files and machine, as metrics."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from infra.oncall.facts import count_stood_still, show_disks, show_models, trained_at
from infra.oncall.lag import Quiet, show_ends
from infra.stack.health.standing import Waiting
from infra.stack.health.status import MODEL
from infra.stack.ports import settings_for
from models.bundle.manifest import MANIFEST
from models.bundle.registry import State, VersionState, write_state
from streams.runtime.metrics import DISK_BYTES, LOG_END, LOG_QUIET, MODELS_AWAITING, STOOD_STILL
from tests.support.metric_values import counted as value_of


def test_a_process_that_stood_still_is_counted_once() -> None:
    counter = STOOD_STILL.labels("test-facts-0")
    before = value_of(counter)
    known = count_stood_still({"test-facts-0": 2}, {})
    known = count_stood_still({"test-facts-0": 2}, known)
    assert value_of(counter) - before == 2
    count_stood_still({"test-facts-0": 3}, known)
    assert value_of(counter) - before == 3


def test_the_disks_of_both_folders(tmp_path: Path) -> None:
    show_disks(settings_for(tmp_path, 21_000))
    for folder in ("home", "temporary"):
        free, size = (value_of(DISK_BYTES.labels(folder, what)) for what in ("free", "size"))
        assert 0 < free <= size


def version(folder: Path, name: str, state: State, trained: str | None) -> None:
    there = folder / MODEL / name
    there.mkdir(parents=True)
    (there / MANIFEST).write_text("{}")
    if trained is not None:
        (there / "lineage.json").write_text(json.dumps({"created_at": trained}))
    write_state(
        folder, MODEL, name, VersionState(state=state, since=datetime(2026, 11, 1, tzinfo=UTC), by="test")
    )


def test_models_that_wait_and_the_age_of_one(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 21_000)
    version(settings.bundles_dir, "1.0.0", "live", "2026-10-01T00:00:00+00:00")
    version(settings.bundles_dir, "1.1.0", "awaiting approval", None)
    version(settings.bundles_dir, "1.2.0", "rejected", None)
    show_models(settings)
    assert value_of(MODELS_AWAITING) == 1
    assert trained_at(settings.bundles_dir, "1.0.0") == datetime(2026, 10, 1, tzinfo=UTC)
    assert trained_at(settings.bundles_dir, "9.9.9") is None


def test_a_silence_is_measured_while_it_lasts_and_when_it_ended() -> None:
    quiet = Quiet("test-facts")
    now, last = (LOG_QUIET.labels("test-facts", which) for which in ("now", "last"))
    quiet.heard(100, 0.0)
    quiet.heard(100, 50.0)
    assert (value_of(now), value_of(last)) == (50, 0)
    quiet.heard(101, 60.0)
    assert (value_of(now), value_of(last)) == (0, 60)
    quiet.heard(101, 70.0)
    assert (value_of(now), value_of(last)) == (10, 60)


def test_ends_of_partitions_that_are_not_known_have_no_value() -> None:
    def shown() -> dict[tuple[str, str], float]:
        samples = LOG_END.collect()[0].samples
        return {(one.labels["topic"], one.labels["partition"]): one.value for one in samples}

    two_groups = {
        ("processor", "transactions", 0): Waiting(3, 9, 9),
        ("another", "transactions", 0): Waiting(5, 9, 9),
        ("labels", "labels", 1): Waiting(1, 2, 2),
    }
    ends = show_ends(two_groups, {})
    assert ends == {("transactions", 0): 9, ("labels", 1): 2}
    assert shown() == {("transactions", "0"): 9, ("labels", "1"): 2}
    assert show_ends({}, ends) == {} and shown() == {}
