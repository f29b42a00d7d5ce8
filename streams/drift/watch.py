"""The drift process' work: keep a window, test it when due, report findings, request retraining.

No Kafka and no clock here: records come in, rows and requests go to ``publish``, time is a parameter (seconds since 1970).
``publish`` returns when the broker has acknowledged. Only then is a request stored; if the process dies in between, it is sent
again with the same dedupe key, which is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, WIDTH
from features.transaction import from_ms
from models.bundle.reference import Reference
from models.drift.statistics import (
    RetrainingPolicy,
    RetrainingState,
    Thresholds,
    Window,
    WindowPolicy,
    after_round,
    due_request,
    remember_request,
    round_due,
)
from streams.contracts.drift import DriftRow
from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.retraining import RetrainingRequest
from streams.drift.comparable import COMPARABLE
from streams.drift.detectors import Detector, Finding
from streams.drift.rounds import Round, judge
from streams.log.feature_batch import decode_vectors
from streams.log.other_catalogues import Layouts, has_all, own_block
from streams.log.records import HEADER_NOBODY_WAITS
from streams.runtime.metrics import DRIFT_ROWS, DRIFT_STATISTIC, RETRAINING_REQUESTS

logger = logging.getLogger(__name__)

#: columns a row must have: those that are tested, and those that decide which rows may be compared
NEEDED = np.zeros(WIDTH, bool)
NEEDED[[INDEX[c.name] for c in COMPARABLE if c.name in INDEX] + [INDEX["hour"], INDEX["card_age_days"]]] = (
    True
)

Publish = Callable[[list[DriftRow], RetrainingRequest | None], None]


@dataclass(frozen=True)
class DriftPolicy:
    """All settings of the drift process."""

    window: WindowPolicy = field(default_factory=WindowPolicy)
    thresholds: Thresholds = field(default_factory=Thresholds)
    retraining: RetrainingPolicy = field(default_factory=RetrainingPolicy)


class _Scored(msgspec.Struct):
    status: Literal["scored", "degraded", "not_scored"]
    score: float | None
    model_version: str


class _Memory(msgspec.Struct):
    asked: dict[str, float]


_scored_decoder = msgspec.json.Decoder(_Scored)


class Sampler:
    """Selects evenly spread rows, ``rows_per_s`` on average, at least one per call."""

    def __init__(self, rows_per_s: float, burst_s: float = 2.0) -> None:
        self._rate, self._burst = rows_per_s, rows_per_s * burst_s
        self._left, self._last_s = self._burst, 0.0

    def take(self, rows: Any, now_s: float) -> Any:
        """Some of a list's elements, or of an array's."""
        self._left = min(self._burst, self._left + self._rate * max(0.0, now_s - self._last_s))
        self._last_s = now_s
        allowed = max(1, min(len(rows), int(self._left)))
        taken = rows[:: max(1, -(-len(rows) // allowed))]
        self._left -= len(taken)
        return taken


class DriftWatch:
    """The drift of one model. ``use_model`` sets the live bundle; before that, rows are kept but not tested."""

    def __init__(
        self,
        model: str,
        detectors: list[Detector],
        publish: Publish,
        memory: Path,
        layouts: Layouts,
        policy: DriftPolicy | None = None,
    ) -> None:
        """Raises: msgspec.MsgspecError when the memory file does not parse."""
        self._model, self._detectors, self._publish, self._memory = model, detectors, publish, memory
        self._layouts = layouts
        self._policy = policy or DriftPolicy()
        self._window = Window(self._policy.window.rows, WIDTH)
        self._features = Sampler(self._policy.window.rows_per_s)
        self._decisions = Sampler(self._policy.window.rows_per_s)
        self._version = ""
        self._reference: Reference | None = None
        self._tested_s = 0.0
        self._reported: set[str] = set()
        asked = msgspec.json.decode(memory.read_bytes(), type=_Memory).asked if memory.exists() else {}
        self._state = RetrainingState(asked=asked)

    def use_model(self, version: str, reference: Reference) -> None:
        """Test against this reference from now on; confirmations against the previous one are dropped."""
        self._version, self._reference = version, reference
        self._window.forget_scores()
        self._state = replace(self._state, streaks={})

    def add_features(self, records: list[Any], now_s: float) -> None:
        """Add Kafka records of `features`. Left out: those of a catalogue without the tested columns, and rows of a backlog or a
        replay, which are no traffic of today."""
        rows: list[npt.NDArray[np.float32]] = []
        event_ms: list[int] = []
        for batch in _decoded(records, lambda r: decode_vectors(r.value, r.partition)):
            block, known = own_block(batch.catalogue, batch.vectors, self._layouts)
            if has_all(known, NEEDED) and batch.waited_for.any():
                rows.append(block[batch.waited_for])
                event_ms += np.array(batch.event_ms)[batch.waited_for].tolist()
        if rows:
            chosen = self._features.take(np.arange(len(event_ms)), now_s)
            self._window.add(np.concatenate(rows)[chosen], np.array(event_ms)[chosen])

    def add_decisions(self, records: list[Any], now_s: float) -> None:
        """Add Kafka records of `decisions`: full scores of the live model, without backlogs and replays."""
        today = [record for record in records if HEADER_NOBODY_WAITS not in (record.headers or ())]
        taken = self._decisions.take(today, now_s) if today else []
        decoded = _decoded(taken, lambda record: _scored_decoder.decode(record.value or b""))
        scores = [d.score for d in decoded if d.status == "scored" and d.model_version == self._version]
        self._window.add_scores(np.array([s for s in scores if s is not None], dtype=np.float32))

    def tick(self, now_s: float) -> None:
        """If a test is due: test the window, report, and request retraining if that is due.

        Raises:
            ValueError: the reference has another feature catalogue.
            DeliveryError: the broker did not acknowledge the report.
        """
        since = now_s - self._tested_s
        due = round_due(self._policy.window, len(self._window), self._window.new_rows, since)
        if self._reference is None or not due:
            return
        self._tested_s = now_s
        rows, event_ms, scores = self._window.snapshot()
        window = Round(rows, event_ms, scores, self._model, self._version)
        judged = judge(window, self._reference, self._detectors, self._policy.thresholds)
        for finding, _ in judged:
            _export(finding)
        critical = {_name(finding) for finding, row in judged if row.severity == "critical"}
        self._state = after_round(self._state, critical)
        request = self._request(judged, now_s)
        self._publish(self._worth_telling(judged), request)
        if request is not None:
            self._remember(request, now_s)

    def _worth_telling(self, judged: list[tuple[Finding, DriftRow]]) -> list[DriftRow]:
        """Rows of findings that drift or have just stopped drifting, and in every round the result for all columns together."""
        drifting = {_name(finding) for finding, row in judged if row.severity != "none"}
        told = drifting | self._reported
        self._reported = drifting
        rows = [row for finding, row in judged if _name(finding) in told or finding.feature == "*"]
        for row in rows:
            DRIFT_ROWS.labels(row.severity).inc()
        return rows

    def _request(self, judged: list[tuple[Finding, DriftRow]], now_s: float) -> RetrainingRequest | None:
        policy = self._policy.retraining
        due = due_request(self._state, policy, self._model, self._version, now_s)
        if due is None:
            return None
        key, confirmed = due
        evidence = [row for finding, row in judged if _name(finding) in confirmed]
        data_to = max(row.window_end for row in evidence)
        return RetrainingRequest(
            model=self._model,
            reason="drift",
            evidence=[msgspec.to_builtins(row) for row in evidence],
            data_from=from_ms(int((data_to.timestamp() - policy.training_span_s) * 1000)),
            data_to=data_to,
            requested_at=from_ms(int(now_s * 1000)),
            dedupe_key=key,
            cooldown_s=policy.cooldown_s,
            requested_by="drift",
        )

    def _remember(self, request: RetrainingRequest, now_s: float) -> None:
        self._state = remember_request(self._state, self._policy.retraining, request.dedupe_key, now_s)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        waiting = self._memory.with_suffix(".tmp")
        waiting.write_bytes(msgspec.json.encode(_Memory(dict(self._state.asked))))
        waiting.replace(self._memory)
        RETRAINING_REQUESTS.labels(request.reason).inc()
        logger.warning("retraining of %s %s requested: %s", self._model, self._version, request.dedupe_key)


def _decoded(records: list[Any], decode: Callable[[Any], Any]) -> list[Any]:
    out = []
    for record in records:
        try:
            out.append(decode(record))
        except UNREADABLE as error:
            # the archive reads the same topics and keeps the record as a dead letter; a sample can do without it
            logger.warning(
                "%s[%d]@%d does not parse: %s", record.topic, record.partition, record.offset, error
            )
    return out


def _name(finding: Finding) -> str:
    return f"{finding.detector}:{finding.feature}"


def _export(finding: Finding) -> None:
    DRIFT_STATISTIC.labels(finding.detector, finding.feature).set(finding.statistic)
    if finding.psi is not None:
        DRIFT_STATISTIC.labels("psi", finding.feature).set(finding.psi)
