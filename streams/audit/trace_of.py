"""The trace of one transaction, read from the log: when each topic got its record, and when the decision was handed over.

The broker stamps every record, so each transaction can be traced, and tracing costs the hot path nothing (decision 37). A span holds the
wait and the work of its stage; the log does not tell them apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from features.identity import identity_of
from features.transaction import epoch_ms
from streams.audit.decided_payment import (
    CLOCKS_APART_MS,
    DecidedPayment,
    decisions_of,
    logged_rows,
    read_since,
)
from streams.log.topics import DECISIONS
from streams.runtime.settings import Settings

#: records of `decisions` that are looked through
MAX_DECISIONS = 50_000


@dataclass(frozen=True)
class Span:
    """A stage: times in ms since 1970. ``waited_for``: the decision waited for it."""

    name: str
    process: str
    start_ms: float
    end_ms: float
    waited_for: bool = True


@dataclass(frozen=True)
class Trace:
    """The spans of a transaction in order of time. ``trace_id``: 32 hex digits, the caller's if it sent a traceparent."""

    trace_id: str
    parent_span_id: str | None
    edge: Literal["kafka", "http"]
    spans: Sequence[Span]

    @property
    def total_ms(self) -> float:
        """From receipt to the end of what the caller waits for."""
        waited = [span for span in self.spans if span.waited_for]
        return max(span.end_ms for span in waited) - min(span.start_ms for span in waited)


def trace_of(settings: Settings, found: DecidedPayment) -> Trace | None:
    """The trace of a decided transaction; None if the log does not hold it any more.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    decision = found.decision
    if found.partition is None:
        return None
    rows = logged_rows(settings, decision, found.partition)
    if not rows:
        return None
    features_ms, batch, row = rows[0]
    one = batch.take([row])
    columns = one.columns
    appended_ms = columns.appended_ms[0]
    decided_ms = _ms(decision["decided_at"])
    published_ms = _published(settings, decision, found.partition)
    decided_at_edge = bool(columns.decided and columns.decided[0])
    spans = (
        _http(_ms(decision["received_at"]), appended_ms, features_ms, decided_ms, published_ms)
        if decided_at_edge
        else _stream(appended_ms, features_ms, decided_ms, published_ms)
    )
    trace = columns.trace[0] if columns.trace else None
    trace_id, parent = _ids(trace, identity_of(decision["tenant"], decision["transaction_id"]))
    return Trace(trace_id, parent, "http" if decided_at_edge else "kafka", spans)


def _stream(appended_ms: float, features_ms: float, decided_ms: float, published_ms: float | None) -> list[Span]:  # fmt: skip
    # clocks of broker and replicas differ by a little: a span never ends before it starts
    decided_ms = max(decided_ms, features_ms)
    spans = [
        Span("features and state", "processor", appended_ms, features_ms),
        Span("score, rules, reasons", "scoring-stream", features_ms, decided_ms),
    ]
    return spans + _publication(decided_ms, published_ms)


def _http(received_ms: float, appended_ms: float, features_ms: float, decided_ms: float, published_ms: float | None) -> list[Span]:  # fmt: skip
    decided_ms = max(decided_ms, received_ms)
    spans = [
        Span("features, score, rules, reasons", "scoring-http", received_ms, decided_ms),
        Span("append of the transaction", "kafka", decided_ms, max(appended_ms, decided_ms)),
        Span("features and state", "processor", appended_ms, features_ms, waited_for=False),
    ]
    return spans + [
        Span(span.name, span.process, max(span.start_ms, features_ms), max(span.end_ms, features_ms), waited_for=False)
        for span in _publication(features_ms, published_ms)
    ]  # fmt: skip


def _publication(decided_ms: float, published_ms: float | None) -> list[Span]:
    if published_ms is None:
        return []
    return [Span("append of the decision", "kafka", decided_ms, max(published_ms, decided_ms))]


def _published(settings: Settings, decision: dict[str, Any], partition: int) -> float | None:
    """When `decisions` got the record, ms since 1970; None if it is gone."""
    found: list[int] = []
    wanted = (decision["tenant"], decision["transaction_id"])

    def look(records: list[Any]) -> None:
        found.extend(record.timestamp()[1] for record, _ in decisions_of(records, *wanted))

    since = int(_ms(decision["decided_at"])) - CLOCKS_APART_MS
    read_since(settings.kafka, DECISIONS.name, partition, since, MAX_DECISIONS, look)
    return float(found[0]) if found else None


def _ms(text: str) -> float:
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return epoch_ms(moment) + moment.microsecond % 1000 / 1000


def _ids(trace: str | None, identity: str) -> tuple[str, str | None]:
    """Trace id, and the caller's span if the caller sent one."""
    if trace is None:
        return hashlib.sha256(identity.encode()).hexdigest()[:32], None
    _, trace_id, span_id, _ = trace.split("-")
    return trace_id, span_id


def otlp(trace: Trace, decision: dict[str, Any]) -> dict[str, Any]:
    """The trace in OTLP's JSON encoding, which every OpenTelemetry backend takes (`POST /v1/traces`)."""
    root_id = _span_id(trace.trace_id, "transaction")
    whole = Span("transaction", "tollgate", min(s.start_ms for s in trace.spans), max(s.end_ms for s in trace.spans))  # fmt: skip
    attributes = {f"tollgate.{name}": str(decision[name]) for name in ("transaction_id", "tenant", "decision", "status", "model_version") if name in decision}  # fmt: skip
    by_process: dict[str, list[dict[str, Any]]] = {
        whole.process: [_otlp_span(trace, whole, root_id, trace.parent_span_id, attributes)]
    }
    for span in trace.spans:
        made = _otlp_span(trace, span, _span_id(trace.trace_id, span.process + span.name), root_id, {})
        by_process.setdefault(span.process, []).append(made)
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes({"service.name": process})}, "scopeSpans": [{"scope": {"name": "tollgate"}, "spans": spans}]}
            for process, spans in by_process.items()
        ]
    }  # fmt: skip


def _otlp_span(
    trace: Trace, span: Span, span_id: str, parent: str | None, attributes: dict[str, str]
) -> dict[str, Any]:
    out = {
        "traceId": trace.trace_id, "spanId": span_id, "name": span.name, "kind": 1,
        "startTimeUnixNano": str(round(span.start_ms * 1_000_000)), "endTimeUnixNano": str(round(span.end_ms * 1_000_000)),
        "attributes": _attributes(attributes),
    }  # fmt: skip
    return out | ({"parentSpanId": parent} if parent else {})


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _span_id(trace_id: str, name: str) -> str:
    return hashlib.sha256(f"{trace_id}/{name}".encode()).hexdigest()[:16]
