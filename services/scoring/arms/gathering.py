"""Gathers what both models said of payments into records of some hundred rows for the topic `shadow`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.scoring.scorer import Scorer
from services.scoring.decision.decider import Judged
from services.scoring.model.serving import Challenger
from streams.contracts.shadow import ShadowBatch

#: a record is sent with this many rows, or this long after its first row
ROWS, AFTER_S = 512, 0.5


class Publishing(Protocol):
    """Where the records go (``services.scoring.arms.shadow_topic.ShadowTopic``)."""

    def publish(self, batch: ShadowBatch) -> None: ...
    def serve(self) -> None: ...


class Compared(NamedTuple):
    """One batch: what the champion made of n rows, and the challenger's codes int8 (n,) and scores float32 (n,)."""

    champion: Judged
    codes: npt.NDArray[np.int8]
    scores: npt.NDArray[np.float32]


class Gathering:
    """Call it with a lock held: its owner adds from several threads. ``clock`` gives seconds since 1970."""

    def __init__(self, publishing: Publishing, clock: Callable[[], float] = time.time) -> None:
        self._publishing, self._clock = publishing, clock
        self._batches: list[Compared] = []
        self._rows = self._dropped = 0
        self._due_s = float("inf")
        self._of: Challenger | None = None

    def add(self, challenger: Challenger, compared: Compared, dropped: int) -> None:
        """Take a batch, and send a record if it is time. ``dropped``: rows that were left out since the batch before."""
        if self._of is not None and _differs(self._of, challenger):
            self.send()
        if not self._batches:
            self._due_s = self._clock() + AFTER_S
        self._of = challenger
        self._batches.append(compared)
        self._rows += len(compared.codes)
        self._dropped += dropped
        if self._rows >= ROWS:
            self.send()

    def serve(self) -> None:
        """Send what is due, and serve the connection; call at least once a second."""
        if self._clock() >= self._due_s:
            self.send()
        self._publishing.serve()

    def send(self) -> None:
        """Send what was gathered."""
        batches, self._batches, challenger = self._batches, [], self._of
        self._due_s = float("inf")
        if not batches or challenger is None:
            return
        dropped, self._rows, self._dropped = self._dropped, 0, 0
        self._publishing.publish(_record(batches, challenger, dropped, int(self._clock() * 1000)))


def _differs(one: Challenger, other: Challenger) -> bool:
    return one.run != other.run or one.scorer.version != other.scorer.version


def _record(batches: Sequence[Compared], challenger: Challenger, dropped: int, at_ms: int) -> ShadowBatch:
    payments = [case.transaction for batch in batches for case in batch.champion.cases]
    amounts = np.array([payment.amount_minor for payment in payments], "<i8")
    return ShadowBatch(
        run=challenger.run,
        champion=_version(batches[-1].champion.scorer),
        challenger=challenger.scorer.version,
        at_ms=at_ms,
        cards=[payment.card_id for payment in payments],
        currencies=[payment.currency for payment in payments],
        amounts_minor=amounts.tobytes(),
        champion_codes=b"".join(batch.champion.codes.tobytes() for batch in batches),
        challenger_codes=b"".join(batch.codes.tobytes() for batch in batches),
        champion_scores=b"".join(batch.champion.scores.astype("<f4").tobytes() for batch in batches),
        challenger_scores=b"".join(batch.scores.astype("<f4").tobytes() for batch in batches),
        dropped=dropped,
    )


def _version(scorer: Scorer | None) -> str:
    return scorer.version if scorer is not None else "none"
