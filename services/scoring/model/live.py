"""The bundle that a replica serves: follows `rollouts`, verifies, loads and warms a bundle in the background, and swaps between batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from models.bundle.content import MODEL, load_bundle
from models.scoring.scorer import Scorer
from services.scoring.model.loader import Loader
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.feed import follow_rollouts
from streams.runtime.metrics import BUNDLE_REFUSED, MODEL_INFO, MODEL_UNREVIEWED, ROLLOUT_SEQUENCE
from streams.runtime.process import quiet_collector
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
#: folder under the stack's home: the fastest backend for each batch size, measured on this machine
TABLES = "cache/backends"

Follow = Callable[[Settings, threading.Event, Callable[[RolloutRecord], None]], Any]


class LiveModel:
    """One replica's scorer of the champion; None until a bundle is rolled out.

    Callers read ``scorer`` once per batch, so one version decides the whole batch. A refused bundle is counted and
    logged, and the last good one stays.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        follow: Follow = follow_rollouts,
        *,
        after_s: float = 0.0,
        **loading: float,
    ) -> None:
        """``follow`` calls back with rollout records, as ``follow_rollouts`` does; ``loading``: see ``Loader``.

        ``after_s``: delay, in seconds, before loading a bundle that replaces another, so that the replicas of one machine do
        not all take a core at once.
        """
        self._settings = settings
        self._stop, self._after_s = stop, after_s
        self._sequence = -1
        self._before: Scorer | None = None
        self.scorer: Scorer | None = None
        self.rollout: RolloutRecord | None = None
        #: set once the bundle that was rolled out is served and warm, or was refused
        self.settled = threading.Event()
        self.problem = "no bundle was rolled out yet: publish one and approve it (`tollgate models approve`)"
        self._loader = Loader(self._load, self._serve, self._refuse, **loading)
        self._following = follow(settings, stop, self.apply)

    def apply(self, record: RolloutRecord) -> None:
        """Start to load the bundle that a rollout record names, and serve it when it is ready; returns at once."""
        if record.model == MODEL and record.sequence > self._sequence:
            self._loader.ask(record)

    @property
    def version(self) -> str:
        """The version served now; "none" before the first."""
        scorer = self.scorer
        return scorer.version if scorer is not None else "none"

    def _load(self, record: RolloutRecord) -> Scorer:
        """A scorer of the verified bundle, warmed on batches of typical sizes. Raises: BundleRefused."""
        if self.scorer is not None and self.scorer.version == record.champion:
            # the same bundle was approved once more
            return self.scorer
        if self.scorer is not None:
            self._stop.wait(self._after_s)
        path = self._settings.bundles_dir / record.model / record.champion
        bundle = load_bundle(path, self._settings.keys_dir / "trusted")
        scorer = Scorer(bundle, tables=self._settings.root / TABLES, like=self.scorer)
        scorer.warm()
        return scorer

    def _serve(self, record: RolloutRecord, scorer: Scorer) -> None:
        before = self.version
        if self.scorer is None:
            # a full garbage collection pauses all threads: before the first bundle no caller waits
            quiet_collector()
        # keep the old scorer until the next swap: otherwise a batch's thread might have to free it
        self._before, self.scorer = self.scorer, scorer
        self.rollout, self._sequence = record, record.sequence
        if before != record.champion:
            MODEL_INFO.labels(before, "champion").set(0)
        MODEL_INFO.labels(record.champion, "champion").set(1)
        MODEL_UNREVIEWED.set(not record.reviewed)
        ROLLOUT_SEQUENCE.labels("served").set(record.sequence)
        self.settled.set()
        logger.info(
            "serving %s %s (%s by %s), previously %s",
            record.model,
            record.champion,
            record.state,
            record.approved_by,
            before,
        )

    def _refuse(self, record: RolloutRecord, reason: str, text: str) -> None:
        BUNDLE_REFUSED.labels(reason).inc()
        ROLLOUT_SEQUENCE.labels("refused").set(record.sequence)
        self.settled.set()
        self.problem = f"bundle {record.champion} was refused ({reason}): {text}"
        logger.error("%s; still serving %s", self.problem, self.version)
