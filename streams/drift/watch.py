"""The drift process' work: collect a window, test it when complete, report what is confirmed, request retraining.

No Kafka and no clock here: records come in, rows and requests go to ``publish``, time is a parameter (seconds since 1970).
``publish`` returns when the broker has acknowledged. Only then is a request stored; if the process dies in between, it is sent
again with the same dedupe key, which is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import NAMES
from features.transaction import epoch_ms, from_ms
from models.bundle.attribute_columns import NO_COLUMNS, AttributeColumns, SentAttributes
from models.bundle.reference import Reference
from models.decision import CODES, DecisionName
from models.drift.requests import may_ask, remember_request, request_key
from models.drift.statistics import Severity
from streams.contracts.drift import DriftRow
from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.retraining import RetrainingRequest
from streams.drift.comparable import NEEDED, Baseline
from streams.drift.detectors import Detector
from streams.drift.rounds import ALL, DriftPolicy, Finding, Round, Rounds
from streams.log.feature_batch import decode_vectors
from streams.log.other_catalogues import Layouts, has_all, own_block
from streams.log.records import HEADER_NOBODY_WAITS
from streams.runtime.metrics import DRIFT_ROWS, DRIFT_STATISTIC, RETRAINING_REQUESTS

logger = logging.getLogger(__name__)

_NEEDED = np.isin(NAMES, list(NEEDED))

Publish = Callable[[list[DriftRow], RetrainingRequest | None], None]


class _Scored(msgspec.Struct):
    status: Literal["scored", "degraded", "not_scored"]
    score: float | None
    decision: DecisionName
    model_version: str
    event_time: datetime
    card_id: str


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
        self._model, self._publish, self._memory = model, publish, memory
        self._layouts = layouts
        self._policy = policy or DriftPolicy()
        self._rounds = Rounds(detectors, self._policy)
        self._features = Sampler(self._policy.window.rows_per_s)
        self._decisions = Sampler(self._policy.window.rows_per_s)
        self._version = ""
        self._attributes = NO_COLUMNS
        self._tested_s = 0.0
        self._reported: set[str] = set()
        self._asked = msgspec.json.decode(memory.read_bytes(), type=_Memory).asked if memory.exists() else {}

    def use_model(
        self, version: str, reference: Reference, attributes: AttributeColumns = NO_COLUMNS
    ) -> None:
        """Test against this reference from now on; confirmations against the previous one are dropped.

        Args:
            attributes: those that the model takes; their columns stand last in the reference.

        Raises:
            ValueError: the reference has another feature catalogue.
        """
        if reference.names != NAMES + attributes.names:
            raise ValueError(f"the reference of {self._model} {version} has another feature catalogue")
        self._version = version
        self._attributes = attributes
        self._rounds.use(Baseline.of(reference, attributes))

    def add_features(self, records: list[Any], now_s: float) -> None:
        """Add Kafka records of `features`. Left out: those of a catalogue without the tested columns, and rows of a backlog or a
        replay, which are no traffic of today."""
        rows: list[npt.NDArray[np.float32]] = []
        event_ms: list[int] = []
        cards: list[str] = []
        own = bool(self._attributes)
        for batch in _decoded(records, lambda r: decode_vectors(r.value, r.partition, attributes=own)):
            block, known = own_block(batch.catalogue, batch.vectors, self._layouts)
            if has_all(known, _NEEDED) and batch.waited_for.any():
                chosen = np.flatnonzero(batch.waited_for)
                if own:
                    sent = SentAttributes(batch.attributes or [None] * len(block))
                    block = np.concatenate([block, self._attributes.block(len(block), sent)], axis=1)
                rows.append(block[chosen])
                event_ms += [batch.event_ms[row] for row in chosen]
                cards += [batch.card_ids[row] for row in chosen]
        if rows:
            chosen = self._features.take(np.arange(len(event_ms)), now_s)
            self._rounds.collector.add(
                np.concatenate(rows)[chosen], np.array(event_ms)[chosen], _numbers([cards[n] for n in chosen])
            )

    def add_decisions(self, records: list[Any], now_s: float) -> None:
        """Add Kafka records of `decisions`: full scores of the live model, without backlogs and replays."""
        today = [record for record in records if HEADER_NOBODY_WAITS not in (record.headers or ())]
        taken = self._decisions.take(today, now_s) if today else []
        decoded = _decoded(taken, lambda record: _scored_decoder.decode(record.value or b""))
        kept = [
            one for one in decoded
            if one.status == "scored" and one.model_version == self._version and one.score is not None
        ]  # fmt: skip
        if kept:
            self._rounds.collector.add_decisions(
                np.array([one.score for one in kept], np.float32), np.array([CODES[one.decision] for one in kept], np.int8),
                np.array([epoch_ms(one.event_time) for one in kept]), _numbers([one.card_id for one in kept]),
            )  # fmt: skip

    def tick(self, now_s: float) -> None:
        """If a window is complete: test it, report, and request retraining if that is due.

        Raises:
            DeliveryError: the broker did not acknowledge the report.
        """
        if now_s - self._tested_s < self._policy.window.pause_s:
            return
        tested = self._rounds.next()
        if tested is None:
            return
        self._tested_s = now_s
        for found in tested.findings:
            _export(found)
        request = self._request(tested, now_s)
        self._publish(self._worth_telling(tested), request)
        if request is not None:
            self._remember(request, now_s)

    def _worth_telling(self, tested: Round) -> list[DriftRow]:
        """Rows of findings that drift or have just stopped drifting, and in every round the result for all columns together."""
        drifting = {name for name, severity in tested.confirmed.items() if severity != "none"}
        told = drifting | self._reported
        self._reported = drifting
        rows = [
            self._row(found, tested.confirmed[found.name], tested)
            for found in tested.findings
            if found.name in told or found.feature == ALL
        ]
        for row in rows:
            DRIFT_ROWS.labels(row.severity, row.detector).inc()
        return rows

    def _request(self, tested: Round, now_s: float) -> RetrainingRequest | None:
        policy = self._policy.retraining
        critical = tested.asking()
        if not critical or not may_ask(self._asked, policy, self._model, now_s):
            return None
        evidence = [self._row(found, "critical", tested) for found in critical]
        data_to = evidence[0].window_end
        return RetrainingRequest(
            model=self._model,
            reason="drift",
            evidence=[msgspec.to_builtins(row) for row in evidence],
            data_from=from_ms(int((data_to.timestamp() - policy.training_span_s) * 1000)),
            data_to=data_to,
            requested_at=from_ms(int(now_s * 1000)),
            dedupe_key=request_key(self._model, self._version, [found.name for found in critical]),
            cooldown_s=policy.cooldown_s,
            requested_by="drift",
        )

    def _row(self, found: Finding, severity: Severity, tested: Round) -> DriftRow:
        window, cause = tested.window, tested.cause if severity != "none" else None
        return DriftRow(
            detector=found.detector, feature=found.feature, window_start=from_ms(int(window.event_ms.min())),
            window_end=from_ms(int(window.event_ms.max())), rows=found.rows, statistic=found.statistic,
            p_value=found.p_value, psi=found.psi, severity=severity, model_version=self._version,
            bundle_reference=f"{self._model}/{self._version}/reference.npz", cause=cause.kind if cause else None,
            why=cause.why if cause else "",
        )  # fmt: skip

    def _remember(self, request: RetrainingRequest, now_s: float) -> None:
        self._asked = remember_request(self._asked, self._policy.retraining, request.dedupe_key, now_s)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        waiting = self._memory.with_suffix(".tmp")
        waiting.write_bytes(msgspec.json.encode(_Memory(self._asked)))
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


def _numbers(cards: list[str]) -> npt.NDArray[np.int64]:
    """A number per card, the same within this process."""
    return np.array([hash(card) for card in cards], dtype=np.int64)


def _export(finding: Finding) -> None:
    DRIFT_STATISTIC.labels(finding.detector, finding.feature).set(finding.statistic)
    if finding.psi is not None:
        DRIFT_STATISTIC.labels("psi", finding.feature).set(finding.psi)
