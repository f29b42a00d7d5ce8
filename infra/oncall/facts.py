"""What oncall sees of a stack's files and machine, as metrics: processes that stood still, free disk, models that wait, the age of the live one."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from infra.disk import written_to
from infra.stack.health.standstill import ended_in
from infra.stack.health.status import MODEL
from models.bundle.registry import created_at, peek, states
from streams.log.rollouts.kept import kept_rollout
from streams.runtime.metrics import DISK_BYTES, MODEL_TRAINED, MODELS_AWAITING, STOOD_STILL
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)

EVERY_S = 5.0
#: names of the folders of ``infra.disk.written_to``, as labels
FOLDERS = ("home", "temporary")


def follow_facts(settings: Settings, stop: threading.Event) -> None:
    """Set the metrics until stopped."""
    counted: dict[str, int] = {}
    while not stop.is_set():
        try:
            counted = count_stood_still(ended_in(settings.run_dir), counted)
            show_disks(settings)
            show_models(settings)
        except OSError as error:
            # a disk that fails has pages of its own; the other metrics of this process go on
            logger.warning("the stack's files cannot be read: %s", error)
        stop.wait(EVERY_S)


def count_stood_still(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Raise the counter of each process to ``now``, where ``before`` was counted. Returns what is counted now."""
    for name, count in now.items():
        STOOD_STILL.labels(name).inc(max(0, count - before.get(name, 0)))
    return {**before, **now}


def show_disks(settings: Settings) -> None:
    """Free space and size of the disks that the stack writes to."""
    for name, folder in zip(FOLDERS, written_to(settings.root), strict=True):
        usage = shutil.disk_usage(folder)
        DISK_BYTES.labels(name, "free").set(usage.free)
        DISK_BYTES.labels(name, "size").set(usage.total)


def show_models(settings: Settings) -> None:
    """How many versions wait for a person, and when the live one was trained; no value while none is live."""
    known = states(settings.bundles_dir, MODEL).values()
    MODELS_AWAITING.set(sum(state == "awaiting approval" for state in known))
    record = kept_rollout(settings.rollout_dir, MODEL)
    trained = (
        trained_at(settings.bundles_dir, record.champion) if record is not None and record.champion else None
    )
    if trained is not None:
        MODEL_TRAINED.labels(MODEL).set(trained.timestamp())


def trained_at(bundles_dir: Path, version: str) -> datetime | None:
    """When the model of a version was trained: new rules around an old model make it no younger."""
    said = peek(bundles_dir, MODEL, version, "lineage.json").get("created_at")
    try:
        return datetime.fromisoformat(str(said))
    except ValueError:
        return created_at(bundles_dir, MODEL, version)
