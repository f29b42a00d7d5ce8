"""Simulated traffic for the drift table: features by the engine, scores and decisions by a model trained on the days before.

Runs in the project's environment. Only the columns that drift tests read are kept, in one .npz file per scenario, which
``watching`` reads in the drift stream's environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.catalogue import INDEX
from features.replay import replay
from features.transaction import epoch_ms
from loadtest.traffic.simulator import DEFAULT_CARDS, Drift, Plan, World, create_world, history_table
from models.bundle.content import BundleContent
from models.bundle.reference import reference_bytes
from models.training.dataset import DAY_MS, from_history
from models.training.learners.parameters import Parameters
from models.training.training import Trained, bundle_content, train
from streams.drift.comparable import NEEDED

START = datetime(2026, 1, 5, tzinfo=UTC)
HISTORY_DAYS = 60
COLUMNS = sorted(NEEDED, key=INDEX.__getitem__)


@dataclass(frozen=True)
class Scenario:
    """Traffic after the history on which the model was trained, in the same world.

    ``per_s`` None: each card pays at its natural rate, in a state as old as the history. Otherwise so many payments a second of
    ``cards`` cards in a state that is empty at first, as right after ``tollgate up``.
    """

    name: str
    days: float
    drift: str = ""
    strength: float = 1.0
    drift_after_days: float = 0.0
    per_s: float | None = None
    cards: int = DEFAULT_CARDS
    #: the column that is empty from ``drift_after_days`` on, as if a producer had stopped to fill it
    empty: str = ""


class Maker:
    """The history, its model, and scenarios that follow it. The same seed gives the same."""

    def __init__(self, seed: int, parameters: Parameters, cards: int = DEFAULT_CARDS) -> None:
        self._seed = seed
        self._world = create_world(seed, cards)
        self._end = START + timedelta(days=HISTORY_DAYS)
        self._history = history_table(self._world, START, self._end, id_prefix="history")
        matrix = replay(self._history)
        data = from_history(self._history, lambda _: matrix, epoch_ms(self._end), silence="honest")
        self.trained: Trained = train(data, parameters, policy_version="1")
        self.content: BundleContent = bundle_content(
            self.trained, created_at=START.isoformat(), code_version="drift", extra={}
        )

    def write(self, scenario: Scenario, folder: Path) -> Path:
        """Write the scenario's file and the reference; returns the file's path."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "reference.npz").write_bytes(reference_bytes(self.content.reference))
        table = self._live(scenario)
        live = table.slice(self._history.num_rows if scenario.per_s is None else 0)
        matrix = replay(table)[table.num_rows - live.num_rows :]
        event_ms = live["event_time"].cast(pa.int64()).to_numpy()
        since_ms = epoch_ms(self._end) + int(scenario.drift_after_days * DAY_MS)
        if scenario.empty:
            matrix[event_ms >= since_ms, INDEX[scenario.empty]] = np.nan
        scores = self.trained.score(matrix)
        codes, _ = self.trained.policy.decide(scores, matrix)
        path = folder / f"{scenario.name}.npz"
        np.savez(
            path, matrix=matrix[:, [INDEX[name] for name in COLUMNS]], columns=np.array(COLUMNS), event_ms=event_ms,
            cards=np.unique(live["card_id"].to_numpy(), return_inverse=True)[1], scores=scores, decisions=codes,
            since_ms=since_ms,
        )  # fmt: skip
        return path

    def _live(self, scenario: Scenario) -> pa.Table:
        """The scenario's payments; after the history where the state is as old as that."""
        end = self._end + timedelta(days=scenario.days)
        since_ms = epoch_ms(self._end) + int(scenario.drift_after_days * DAY_MS)
        drifts = [Drift(scenario.drift, since_ms, scenario.strength)] if scenario.drift else []
        world, count = self._world_of(scenario), None
        if scenario.per_s is not None:
            count = round(scenario.days * 86_400 * scenario.per_s)
        table = history_table(
            world, self._end, end, plan=Plan(drifts=drifts), count=count, stream=1_000, id_prefix="live"
        )
        return table if scenario.per_s is not None else pa.concat_tables([self._history, table])

    def _world_of(self, scenario: Scenario) -> World:
        return self._world if scenario.per_s is None else create_world(self._seed, scenario.cards)
