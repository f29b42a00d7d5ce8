"""Starts a stack and trains its first model at the same time; each takes about half a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pyarrow as pa

from infra import stack
from loadtest.traffic.simulator import World, create_world, history_table
from models.bundle.content import MODEL
from services.rollout.confirmation import serving
from services.trainer.bootstrap import train_first_model
from services.trainer.simulated_data import marked
from streams.log.rollouts.kept import kept_rollout
from streams.runtime.settings import Settings

HISTORY_DAYS = 60
SEED = 1
MODEL_WAIT_S = 90.0
EDGE_REPLICA = "scoring-http-0"

Progress = Callable[[str], None]


class NoFirstModel(Exception):
    """The first model was not trained or not served in time; the text says which and names the log."""

    exit_code = 1


def has_model(settings: Settings) -> bool:
    """Whether this stack has a published model."""
    return any(settings.bundles_dir.glob(f"{MODEL}/*"))


def simulated_history(until: datetime, progress: Progress, world: World | None = None) -> pa.Table:
    """HISTORY_DAYS days of simulated transactions until ``until``, marked as such, with labels: nine frauds in ten are reported, so
    silence is honest.
    """
    world = world or create_world(SEED)
    progress(f"simulating {HISTORY_DAYS} days of {len(world.cards):,} cards")
    history = history_table(world, until - timedelta(days=HISTORY_DAYS), until, id_prefix="history")
    progress(f"simulated {history.num_rows:,} transactions")
    return marked(history)


def start_with_model(
    settings: Settings,
    history: Callable[[], pa.Table],
    *,
    wait_s: float,
    progress: Progress,
    settle: bool = True,
) -> tuple[Settings, str]:
    """Start the stack, train a first model meanwhile if there is none, and wait until replicas serve a model.

    Returns the settings and the version served. ``settle``: see ``stack.start``.

    Raises:
        StackError: as ``stack.start``. NoFirstModel: not trained or not served in time.
    """
    failures: list[BaseException] = []

    def learn() -> None:
        try:
            train_first_model(settings, history(), progress, silence="honest")
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    training = threading.Thread(target=learn, daemon=True)
    began = time.monotonic()
    fresh = not has_model(settings)
    if not stack.is_running(settings):
        # before training writes to the disk
        stack.check_room(settings.root)
    if fresh:
        training.start()
    started = stack.start(settings, wait_s=wait_s, settle=settle, progress=progress)
    if fresh:
        progress(
            "the stack is up; the first model is still being trained"
            if training.is_alive()
            else "the stack is up"
        )
        training.join(max(1.0, wait_s - (time.monotonic() - began)))
    if failures:
        raise failures[0]
    if training.is_alive():
        raise NoFirstModel(f"the first model was not trained within {wait_s:g} s")
    return started, served_version(started)


def served_version(settings: Settings) -> str:
    """Wait until the HTTP edge's replica serves the version that was rolled out; returns that version.

    Raises:
        NoFirstModel: not within MODEL_WAIT_S.
    """
    until = time.monotonic() + MODEL_WAIT_S
    while time.monotonic() < until:
        record = kept_rollout(settings.rollout_dir, MODEL)
        found = serving(settings, EDGE_REPLICA)
        if record is not None and found is not None and found.served >= record.sequence:
            return record.champion
        time.sleep(0.3)
    raise NoFirstModel(
        f"no model was served within {MODEL_WAIT_S:g} s: see {settings.log_dir / 'rollout-0.log'}"
    )
