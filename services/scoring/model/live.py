"""The bundles that a replica serves: follows `rollouts`, verifies, loads and warms them in the background, and swaps between batches.

A record that names only bundles that are loaded (a rollback, an abort, a promotion, another share of the cards) is served at once.
A challenger that cannot be loaded leaves the champion deciding alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from features.transaction import epoch_ms
from models.bundle.content import MODEL, check_declared, load_bundle
from models.scoring.scorer import Scorer
from services.scoring.model.loader import Loaded, Loader, Refusal
from services.scoring.model.serving import NOTHING, Challenger, Serving
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.feed import follow_rollouts
from streams.runtime.metrics import (
    BUNDLE_REFUSED,
    CHALLENGER_SHARE,
    MODEL_INFO,
    MODEL_UNREVIEWED,
    ROLLOUT_SEQUENCE,
)
from streams.runtime.process import quiet_collector
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
#: folder under the stack's home: the fastest backend for each batch size, measured on this machine
TABLES = "cache/backends"
#: replicas learn of a record within some tenths of a second of each other. A share that grows holds for payments received this long
#: after it, ms, so that the stream and the edge change a card's arm at the same payment; a share that shrinks holds at once
TOGETHER_MS = 1_000

Follow = Callable[[Settings, threading.Event, Callable[[RolloutRecord], None]], Any]


class LiveModel:
    """One replica's scorers of both arms; no champion until a bundle is rolled out.

    Callers read ``serving`` once per batch, so one rollout record decides the whole batch. A refused bundle is counted and
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

        ``after_s``: delay, in seconds, before loading a bundle beside or in place of another, so that the replicas of one machine
        do not all take a core at once.
        """
        self._settings = settings
        self._stop, self._after_s = stop, after_s
        self._sequence = -1
        self._before = NOTHING
        self.serving = NOTHING
        self.rollout: RolloutRecord | None = None
        #: set once the bundles that were rolled out are served and warm, or one was refused
        self.settled = threading.Event()
        self.problem = "no bundle was rolled out yet: publish one and approve it (`tollgate models approve`)"
        self._loader = Loader(self._load, self._serve, self._refuse, **loading)
        self._following = follow(settings, stop, self.apply)

    def apply(self, record: RolloutRecord) -> None:
        """Serve the bundles that a rollout record names: at once if they are loaded, else as soon as they are; returns at once."""
        if record.model != MODEL or record.sequence <= self._sequence:
            return
        wanted = (record.champion, _challenger_version(record))
        if all(version is None or self._known(version) is not None for version in wanted):
            # not behind a bundle that loads or hangs: this may be the way back from it
            self._loader.give(record, self._load(record))
        else:
            self._loader.ask(record)

    @property
    def scorer(self) -> Scorer | None:
        """The champion's; None before the first."""
        return self.serving.champion

    @property
    def version(self) -> str:
        """The champion's version served now; "none" before the first."""
        scorer = self.scorer
        return scorer.version if scorer is not None else "none"

    def _load(self, record: RolloutRecord) -> Loaded:
        """Scorers of the verified bundles, warmed on batches of typical sizes.

        Raises:
            BundleRefused: of the champion. That of a challenger is part of the result.
        """
        champion = self._scorer(record, record.champion)
        version = _challenger_version(record)
        if version is None:
            return Loaded(Serving(champion))
        if self.scorer is None:
            # in case the challenger hangs
            self.serving = Serving(champion)
        try:
            challenger = self._challenger(record, self._scorer(record, version))
            # a salt that cannot be used shows here, not in the first batch
            challenger.rows_of(["card"], [int(challenger.from_ms)])
        except Exception as error:  # noqa: BLE001 - whatever fails in a challenger, the champion decides
            return Loaded(Serving(champion), Refusal.of(version, error))
        return Loaded(Serving(champion, challenger))

    def _challenger(self, record: RolloutRecord, scorer: Scorer) -> Challenger:
        """The challenger of a record. A share that grows holds for what is received from a little after the record on."""
        made = Challenger(
            scorer,
            share=record.traffic.get("challenger", 0.0),
            salt=record.salt,
            shadow=record.shadow,
            run=record.run.id if record.run is not None else "",
        )
        now = self.serving.challenger
        if now is None or (now.scorer, now.salt) != (scorer, made.salt) or now.share >= made.share:
            return made
        return replace(made, before=now.share, from_ms=epoch_ms(record.since) + TOGETHER_MS)

    def _scorer(self, record: RolloutRecord, version: str) -> Scorer:
        """Raises: BundleRefused."""
        known = self._known(version)
        if known is not None:
            return known
        if self.rollout is not None:
            self._stop.wait(self._after_s)
        path = self._settings.bundles_dir / record.model / version
        bundle = load_bundle(path, self._settings.keys_dir / "trusted")
        check_declared(path, bundle.attributes, self._settings.declared)
        scorer = Scorer(bundle, tables=self._settings.root / TABLES, like=self.scorer)
        scorer.warm()
        return scorer

    def _known(self, version: str) -> Scorer | None:
        """The scorer of a version that is loaded: it is served, or was until the last swap."""
        loaded = [*self.serving.scorers, *self._before.scorers]
        return next((scorer for scorer in loaded if scorer.version == version), None)

    def _serve(self, record: RolloutRecord, loaded: Loaded) -> None:
        serving, before = loaded.serving, self.serving
        if self.rollout is None:
            # a full garbage collection pauses all threads: before the first bundle no caller waits
            quiet_collector()
        if serving.versions != before.versions:
            # keep the old scorers until the next swap: a batch's thread might have to free them, and the way back needs them
            self._before = before
        self.serving = serving
        self.rollout, self._sequence = record, record.sequence
        _show(before, serving, first=before.champion is None)
        MODEL_UNREVIEWED.set(not record.reviewed)
        if loaded.refusal is None:
            ROLLOUT_SEQUENCE.labels("served").set(record.sequence)
            self.settled.set()
        else:
            self._refuse(record, loaded.refusal)
        logger.info(
            "serving %s %s (%s by %s), previously %s",
            record.model,
            _said(serving),
            record.state,
            record.approved_by,
            _said(before),
        )

    def _refuse(self, record: RolloutRecord, refusal: Refusal) -> None:
        BUNDLE_REFUSED.labels(refusal.reason).inc()
        ROLLOUT_SEQUENCE.labels("refused").set(record.sequence)
        self.settled.set()
        self.problem = f"bundle {refusal.version} was refused ({refusal.reason}): {refusal.text}"
        logger.error("%s; still serving %s", self.problem, self.version)


def _challenger_version(record: RolloutRecord) -> str | None:
    """The version that a record names as challenger."""
    version = record.arms.get("challenger")
    return version if version != record.champion else None


def _show(before: Serving, now: Serving, *, first: bool) -> None:
    """Set the metrics of who serves."""
    if first:
        MODEL_INFO.labels("none", "champion").set(0)
    for arm, version in before.versions.items():
        if now.versions.get(arm) != version:
            MODEL_INFO.labels(version, arm).set(0)
    for arm, version in now.versions.items():
        MODEL_INFO.labels(version, arm).set(1)
    CHALLENGER_SHARE.set(now.challenger.share if now.challenger is not None else 0.0)


def _said(serving: Serving) -> str:
    if serving.champion is None:
        return "none"
    found = serving.challenger
    if found is None:
        return serving.champion.version
    how = f"{found.share:.0%} of the cards" if found.share else "in the shadow" if found.shadow else "waiting"
    return f"{serving.champion.version} and {found.scorer.version} ({how})"
