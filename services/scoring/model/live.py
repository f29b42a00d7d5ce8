"""The bundle that a replica serves: follows `rollouts`, verifies, loads and warms in the background, swaps between two batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from models.bundle.content import MODEL, load_bundle
from models.scoring.scorer import Scorer
from services.scoring.model.loader import Loader
from streams.contracts.rollout import RolloutRecord
from streams.log.rollout_feed import follow_rollouts
from streams.runtime.metrics import BUNDLE_REFUSED, MODEL_INFO
from streams.runtime.process import quiet_collector
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
#: under the stack's home: which backend is fastest for which batch size, as measured here
TABLES = "cache/backends"

Follow = Callable[[Settings, threading.Event, Callable[[RolloutRecord], None]], Any]


class LiveModel:
    """The champion's scorer of one replica; None until a first bundle was rolled out.

    ``scorer`` is read once per batch, so that each decision is made wholly by one version. A bundle that is refused is
    counted and logged, and the last good one stays.
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
        """``follow`` calls back with rollout records, as ``follow_rollouts``; ``loading``: see ``Loader``.

        ``after_s``: what replaces a bundle in service is loaded so much later, so that the replicas of one machine do not all take a
        core for it at once.
        """
        self._settings = settings
        self._stop, self._after_s = stop, after_s
        self._sequence = -1
        self._before: Scorer | None = None
        self.scorer: Scorer | None = None
        self.rollout: RolloutRecord | None = None
        #: set once what was rolled out is served, warm, or was refused
        self.settled = threading.Event()
        self.problem = "no bundle was rolled out yet: publish one and approve it (`tollgate models approve`)"
        self._loader = Loader(self._load, self._serve, self._refuse, **loading)
        self._following = follow(settings, stop, self.apply)

    def apply(self, record: RolloutRecord) -> None:
        """Have served what a rollout record names; returns at once."""
        if record.model == MODEL and record.sequence > self._sequence:
            self._loader.ask(record)

    @property
    def version(self) -> str:
        """The version served now; "none" before the first."""
        scorer = self.scorer
        return scorer.version if scorer is not None else "none"

    def _load(self, record: RolloutRecord) -> Scorer:
        """Verified, loaded, and warm on batches as they come. Raises: BundleRefused."""
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
            # a full collection stops everything: before the first bundle nobody waits
            quiet_collector()
        # what was served until now is kept until the next swap: a batch's thread must not be the one to take it apart
        self._before, self.scorer = self.scorer, scorer
        self.rollout, self._sequence = record, record.sequence
        if before != record.champion:
            MODEL_INFO.labels(before, "champion").set(0)
        MODEL_INFO.labels(record.champion, "champion").set(1)
        self.settled.set()
        logger.info(
            "serving %s %s (%s by %s), before it %s",
            record.model,
            record.champion,
            record.state,
            record.approved_by,
            before,
        )

    def _refuse(self, record: RolloutRecord, reason: str, text: str) -> None:
        BUNDLE_REFUSED.labels(reason).inc()
        self.settled.set()
        self.problem = f"bundle {record.champion} was refused ({reason}): {text}"
        logger.error("%s; still serving %s", self.problem, self.version)
