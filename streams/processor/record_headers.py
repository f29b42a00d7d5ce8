"""What the headers of a record of `transactions` say. Anybody who may produce can send one, so each is bounded or sealed. Pure.

A header that says nothing valid is ignored and counted, and its payment is decided as if it were not there: a header can neither hide
a payment nor decide it, stretch its deadline or move the time of its receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from features.transaction import Transaction
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.log.edge_decision import EdgeDecision, open_decision
from streams.log.forwarding import open_appended_ms
from streams.log.records import HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED
from streams.log.replayed import HEADER_REPLAYS, open_replayed
from streams.log.seal import Forged, Keys
from streams.log.trace import HEADER_TRACE, parse_traceparent

_OURS = frozenset((HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED, HEADER_REPLAYS, HEADER_TRACE))


class Beside(NamedTuple):
    """What stands beside one transaction; times in ms."""

    appended_ms: int
    #: 0: no deadline
    deadline_ms: int
    decided: EdgeDecision | None = None
    trace: str | None = None
    #: partition and offset of the refused record that was sent again with this one
    replays: tuple[int, int] | None = None


class Forgery(NamedTuple):
    """A header that claims to be this stack's and is not."""

    record: Any
    header: str
    error: Forged


@dataclass
class NotBelieved:
    """Headers of a chunk that say nothing: forged ones, and the names of those that do not parse."""

    forged: list[Forgery] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def say_something(headers: Iterable[tuple[str, Any]]) -> bool:
    """Whether one of them means something here; producers may send what they like."""
    for header in headers:  # noqa: SIM110 - twice as fast as any()
        if header[0] in _OURS:
            return True
    return False


def read_headers(
    record: Any, tx: Transaction, default_deadline_ms: int, keys: Keys, out: NotBelieved
) -> Beside:
    """What the headers of a record with this transaction say; ``out`` gets those that are not believed."""
    headers, appended_ms = dict(record.headers), record.timestamp
    deadline_ms, decided, trace = default_deadline_ms, None, None
    if HEADER_APPENDED_MS in headers:
        try:
            appended_ms = min(open_appended_ms(keys, headers[HEADER_APPENDED_MS], record.value), appended_ms)
        except Forged as error:
            out.forged.append(Forgery(record, HEADER_APPENDED_MS, error))
    if HEADER_DECIDED in headers:
        try:
            decided = open_decision(keys, headers[HEADER_DECIDED], record.value, tx, record.timestamp)
        except Forged as error:
            out.forged.append(Forgery(record, HEADER_DECIDED, error))
    replays = None
    if HEADER_REPLAYS in headers:
        try:
            replays = open_replayed(keys, headers[HEADER_REPLAYS], record.value)
        except Forged as error:
            out.forged.append(Forgery(record, HEADER_REPLAYS, error))
    if HEADER_DEADLINE_MS in headers:
        wanted_ms = _deadline_ms(headers[HEADER_DEADLINE_MS])
        if wanted_ms is None:
            out.ignored.append(HEADER_DEADLINE_MS)
        else:
            deadline_ms = wanted_ms
    if HEADER_TRACE in headers:
        trace = parse_traceparent(headers[HEADER_TRACE])
        if trace is None:
            out.ignored.append(HEADER_TRACE)
    return Beside(appended_ms, deadline_ms, decided, trace, replays)


def _deadline_ms(raw: bytes | None) -> int | None:
    """0 to MAX_DEADLINE_MS; None where it says none."""
    if not raw or not raw.isdigit() or len(raw) > len(str(MAX_DEADLINE_MS)) or int(raw) > MAX_DEADLINE_MS:
        return None
    return int(raw)
