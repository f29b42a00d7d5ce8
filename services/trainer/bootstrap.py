"""The first model, from a history table: compute features, train, evaluate, sign, publish."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from features.replay import replay
from models.bundle.content import MODEL
from models.bundle.registry import State, states
from models.training.archived import save_seed
from models.training.dataset import from_history, in_order
from models.training.label_states import Silence
from models.training.learners.parameters import Parameters
from services.trainer.learning import Learned, Source, learn, live_by_state, seed_dir
from services.trainer.simulated_data import is_marked, mark_seed
from streams.runtime.settings import Settings


class ModelRejected(Exception):
    """The model was trained and published as rejected; the text gives the reasons."""

    exit_code = 1

    def __init__(self, learned: Learned) -> None:
        super().__init__(f"{MODEL} {learned.version} is rejected: {'; '.join(learned.rejected_for)}")


def train_first_model(
    settings: Settings, history: pa.Table, progress: Callable[[str], None], *, silence: Silence,
    by: str | None = None, author: str | None = None, now: datetime | None = None, parameters: Parameters | None = None,
) -> str:  # fmt: skip
    """Train on a history table and publish; returns the new version.

    If no model of this stack was ever approved, the version's state becomes ``approved``: the rollout process serves it,
    as unreviewed until a person approves it. Later versions await approval.

    Args:
        author: the person who trains by hand, and so cannot approve it; None if the stack's start does.
        history: rows in order of arrival with ``label`` and ``label_time``. Labels count if known by ``now`` or, if the
            history ended earlier, by its newest event.
        silence: what a matured row without a label is.

    Raises:
        DatasetError: too few frauds with known labels.
        ModelRejected: it was trained and failed a gate.
    """
    now = now or datetime.now(UTC)
    by = by or getpass.getuser()
    simulated = is_marked(history)
    history = in_order(history)
    rows = history.num_rows
    reported = 0

    def at(done: int) -> None:
        nonlocal reported
        if done - reported >= rows // 4:
            reported = done
            progress(f"features of history: {done:,} of {rows:,}")

    progress(f"features of history: {rows:,} transactions")
    matrix = replay(history, progress=at)
    as_of_ms = _newest_ms(history, now)
    data = from_history(history, lambda _table: matrix, as_of_ms, silence=silence)
    save_seed(history, matrix, seed_dir(settings), as_of_ms, silence)
    mark_seed(seed_dir(settings), simulated)
    fresh = not any(
        state in ("approved", "live", "superseded") for state in states(settings.bundles_dir, MODEL).values()
    )
    state: State = "approved" if fresh else "awaiting approval"
    why = "first model, from history" if fresh else "trained from a history file"
    account = {"source": "history", "history_rows": rows, "labels_known_at_ms": as_of_ms, "silence": silence}
    account["simulated_rows"] = len(data) if simulated else 0
    learned = learn(
        settings, Source(data, account), now=now, by=by, why=why, state=state, author=author,
        parameters=parameters or Parameters(), live_version=live_by_state(settings), progress=progress,
    )  # fmt: skip
    if learned.rejected_for:
        raise ModelRejected(learned)
    return learned.version


def _newest_ms(history: pa.Table, now: datetime) -> int:
    """The cut-off for labels: now, or the newest event of a history that ended earlier."""
    newest = pc.max(pc.cast(pc.cast(history["event_time"], pa.timestamp("ms", tz="UTC")), pa.int64())).as_py()
    return min(int(newest or 0), int(now.timestamp() * 1000)) if newest else int(now.timestamp() * 1000)
