"""Scores the champion's payments with the challenger beside it, on a thread of its own: no decision depends on it.

A decision waits a few milliseconds for the challenger's score, to carry it in ``shadow``, and goes out without it otherwise. What
both models said goes to the topic `shadow` either way. When the thread is behind, batches are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt

from services.scoring.arms.gathering import Compared, Gathering, Publishing
from services.scoring.decision.decider import Decider, Judged
from services.scoring.model.serving import Challenger
from streams.log.other_catalogues import OtherCatalogue
from streams.runtime.log_throttle import THROTTLED
from streams.runtime.metrics import CHALLENGER_ROWS

logger = logging.getLogger(f"{THROTTLED}.shadow")
#: rows that wait for the challenger; more are dropped. They take 800 bytes each
MAX_WAITING_ROWS = 8_192
#: how often the producer is served while there is nothing to do
SERVE_EVERY_S = 1.0
FAILED_CODE = -1


class ShadowRows:
    """One batch on its way through the challenger. ``scores`` float32 (n,), NaN without a score; None until ``done`` is set, or failed."""

    __slots__ = ("alone", "challenger", "champion", "done", "matrix", "other", "scores")

    def __init__(
        self, champion: Judged, challenger: Challenger, other: OtherCatalogue | None, *, alone: bool
    ) -> None:
        """``champion``: what it made of the rows; ``alone``: no other batch is waited for before this one."""
        self.champion, self.challenger, self.other, self.alone = champion, challenger, other, alone
        self.scores: npt.NDArray[np.float32] | None = None
        self.done = threading.Event()

    def within(self, wait_s: float) -> npt.NDArray[np.float32] | None:
        """The challenger's scores, if they are there within ``wait_s``. Behind another batch nobody waits."""
        if self.done.wait(wait_s if self.alone else 0.0):
            return self.scores
        return None


class Shadow:
    """One process's shadow scoring. The thread starts with the first batch, and with it the connection to Kafka."""

    def __init__(self, publishing: Publishing, max_rows: int = MAX_WAITING_ROWS) -> None:
        self._gathering = Gathering(publishing)
        self._decider = Decider("challenger", strict=True)
        self._max_rows = max_rows
        self._batches: SimpleQueue[ShadowRows | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._dropped = 0
        self._thread: threading.Thread | None = None

    def begin(
        self, champion: Judged, challenger: Challenger, other: OtherCatalogue | None
    ) -> ShadowRows | None:
        """Score a batch that the champion has judged; None when it is dropped, because too much waits."""
        rows = len(champion.cases)
        with self._lock:
            if self._waiting + rows > self._max_rows:
                self._dropped += rows
                CHALLENGER_ROWS.labels("shadow", "dropped").inc(rows)
                return None
            alone = not self._waiting
            self._waiting += rows
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
        made = ShadowRows(champion, challenger, other, alone=alone)
        self._batches.put(made)
        return made

    def close(self, within_s: float) -> None:
        """Publish what was scored and end the thread."""
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            try:
                batch = self._batches.get(timeout=min(SERVE_EVERY_S, self._gathering.due_in_s()))
            except Empty:
                self._gathering.serve()
                continue
            if batch is None:
                self._gathering.send()
                return
            self._score(batch)
            self._gathering.serve()

    def _score(self, batch: ShadowRows) -> None:
        champion, scorer = batch.champion, batch.challenger.scorer
        rows = len(champion.cases)
        codes, result = np.full(rows, FAILED_CODE, np.int8), "failed"
        scores = np.full(rows, np.nan, np.float32)
        try:
            judged = self._decider.judge(champion.cases, champion.matrix, scorer, batch.other)
            codes, scores, result = judged.codes, judged.scores, "scored"
            batch.scores = scores
        except Exception as error:  # noqa: BLE001 - a challenger may fail in any way: it is counted, and ends nothing
            logger.error("the challenger %s failed in the shadow: %r", scorer.version, error)
        with self._lock:
            self._waiting -= rows
            dropped, self._dropped = self._dropped, 0
        batch.done.set()
        CHALLENGER_ROWS.labels("shadow", result).inc(rows)
        self._gathering.add(batch.challenger, Compared(champion, codes, scores), dropped)
