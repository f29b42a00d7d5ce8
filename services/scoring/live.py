"""The bundle that a replica serves: follows `rollouts`, verifies, loads and warms in the background, swaps between two batches."""

from __future__ import annotations

import logging
import threading

from models.bundle import MODEL, BundleRefused, load_bundle
from models.scorer import Scorer
from streams.events import RolloutRecord
from streams.metrics import BUNDLE_REFUSED, MODEL_INFO
from streams.process import quiet_collector
from streams.rollouts import follow_rollouts
from streams.settings import Settings

logger = logging.getLogger(__name__)
#: under the stack's home: which backend is fastest for which batch size, as measured here
TABLES = "cache/backends"


class LiveModel:
    """The champion's scorer of one replica; None until a first bundle was rolled out.

    ``scorer`` is read once per batch, so that each decision is made wholly by one version. A bundle that is refused is
    counted and logged, and the last good one stays.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._sequence = -1
        self.scorer: Scorer | None = None
        self.rollout: RolloutRecord | None = None
        self.problem = "no bundle was rolled out yet: publish one and approve it (`tollgate models approve`)"
        self._thread = follow_rollouts(settings, stop, self.apply)

    def apply(self, record: RolloutRecord) -> None:
        """Serve what a rollout record names; called by the following thread."""
        if record.model != MODEL or record.sequence <= self._sequence:
            return
        path = self._settings.bundles_dir / record.model / record.champion
        try:
            bundle = load_bundle(path, self._settings.keys_dir / "trusted")
            scorer = Scorer(bundle, tables=self._settings.root / TABLES)
            scorer.warm()
        except BundleRefused as error:
            BUNDLE_REFUSED.labels(error.reason).inc()
            self.problem = f"bundle {record.champion} was refused ({error.reason}): {error}"
            logger.error("%s; still serving %s", self.problem, self.version)
            return
        quiet_collector()
        before = self.version
        self.scorer, self.rollout, self._sequence = scorer, record, record.sequence
        if before != record.champion:
            MODEL_INFO.labels(before, "champion").set(0)
        MODEL_INFO.labels(record.champion, "champion").set(1)
        logger.info(
            "serving %s %s (%s by %s), before it %s",
            record.model,
            record.champion,
            record.state,
            record.approved_by,
            before,
        )

    @property
    def version(self) -> str:
        """The version served now; "none" before the first."""
        return self.scorer.version if self.scorer is not None else "none"
