"""What a challenger says beside the champion: published on `shadow`, and scored on a thread of its own where no decision can wait for it.

A quick challenger is asked on the batch's own thread, once its reasons are made (``services.scoring.arms.arms_decider``). A slow one, and
a batch without time, come here: then the decision goes out without a score in ``shadow``, and the topic gets it all the same. When the
thread is behind, batches are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from services.scoring.arms.gathering import Compared, Gathering, Publishing
from services.scoring.decision.decider import Decider, Judged
from services.scoring.model.serving import Challenger
from streams.log.other_catalogues import OtherCatalogue
from streams.runtime.log_throttle import THROTTLED
from streams.runtime.metrics import CHALLENGER_ROWS

logger = logging.getLogger(f"{THROTTLED}.shadow")
#: rows that wait for the challenger; more are dropped. They take 800 bytes each
MAX_WAITING_ROWS = 8_192
#: how often a record that is due is sent, and the producer served, while there is nothing to score
SERVE_EVERY_S = 0.25
FAILED_CODE = -1


class ShadowRows(NamedTuple):
    """A batch that waits for the challenger: what the champion made of it, and its rows of other catalogues."""

    champion: Judged
    challenger: Challenger
    others: OtherCatalogue


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

    def add(self, champion: Judged, challenger: Challenger, judged: Judged | None) -> None:
        """Publish what both models said of a batch. ``judged``: the challenger's, None: it failed."""
        rows = len(champion.cases)
        if judged is None:
            codes = np.full(rows, FAILED_CODE, np.int8)
            compared = Compared(champion, codes, np.full(rows, np.nan, np.float32))
        else:
            compared = Compared(champion, judged.codes, judged.scores)
        CHALLENGER_ROWS.labels("shadow", "failed" if judged is None else "scored").inc(rows)
        with self._lock:
            self._start()
            dropped, self._dropped = self._dropped, 0
            self._gathering.add(challenger, compared, dropped)

    def score_aside(self, champion: Judged, challenger: Challenger, others: OtherCatalogue) -> None:
        """Score a batch on the other thread, and publish it; it is dropped where too much waits."""
        rows = len(champion.cases)
        with self._lock:
            self._start()
            if self._waiting + rows > self._max_rows:
                self._dropped += rows
                CHALLENGER_ROWS.labels("shadow", "dropped").inc(rows)
                return
            self._waiting += rows
        self._batches.put(ShadowRows(champion, challenger, others))

    def close(self, within_s: float) -> None:
        """Publish what was scored and end the thread."""
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(within_s)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        batch: ShadowRows | None
        while True:
            try:
                batch = self._batches.get(timeout=SERVE_EVERY_S)
            except Empty:
                with self._lock:
                    self._gathering.serve()
                continue
            if batch is None:
                with self._lock:
                    self._gathering.send()
                return
            self._score(batch)

    def _score(self, batch: ShadowRows) -> None:
        champion, scorer = batch.champion, batch.challenger.scorer
        judged: Judged | None = None
        try:
            judged = self._decider.judge(champion.cases, champion.matrix, scorer, batch.others)
        except Exception as error:  # noqa: BLE001 - a challenger may fail in any way: it is counted, and ends nothing
            logger.error("the challenger %s failed in the shadow: %r", scorer.version, error)
        with self._lock:
            self._waiting -= len(champion.cases)
        self.add(champion, batch.challenger, judged)
        with self._lock:
            self._gathering.serve()
