"""Find the outcomes already on the log, so that a worker does not send them again after a restart or a loss of Redis' last writes.

Only the worker of a partition writes its outcomes, so the end of `outcomes` is more up to date than the store. Comparing source
offsets is not enough: after a crash, the pair may be completed by its other record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from features.identity import DEFAULT_TENANT, identity_of
from features.transaction import Instant, epoch_ms
from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.outcome import Outcome
from streams.log.topics import OUTCOMES
from streams.runtime.kafka.log_reader import Span, read_span, whole_log

#: outcomes read back: those of a chunk in progress, and what five chunks a second can write in two seconds
LOOK_BACK = 50_000


class _Decision(msgspec.Struct):
    transaction_id: str
    tenant: str = DEFAULT_TENANT

    @property
    def identity(self) -> str:
        return identity_of(self.tenant, self.transaction_id)


class _Outcome(msgspec.Struct):
    decision: _Decision
    label: str
    label_time: Instant


_decoder = msgspec.json.Decoder(_Outcome)


def key_of(outcome: Outcome | _Outcome) -> int:
    """A key of one transaction's outcome for one label. Within a process, equal keys mean equal outcomes."""
    return hash((outcome.decision.identity, outcome.label, epoch_ms(outcome.label_time)))


def keys_of(values: Iterable[bytes | None]) -> set[int]:
    """The keys of records of `outcomes`; values that are not outcomes are skipped."""
    keys = set()
    for value in values:
        try:
            keys.add(key_of(_decoder.decode(value or b"")))
        except UNREADABLE:
            continue
    return keys


def sent_outcomes(bootstrap: str, partitions: Iterable[int]) -> set[int]:
    """The keys of the last LOOK_BACK outcomes of each given partition.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    first, ends = whole_log(bootstrap, [OUTCOMES.name])
    wanted = {p: end for p, end in ends[OUTCOMES.name].items() if p in set(partitions)}
    start: Span = {
        OUTCOMES.name: {p: max(first[OUTCOMES.name][p], end - LOOK_BACK) for p, end in wanted.items()}
    }
    keys: set[int] = set()

    def collect(records: list[Any]) -> None:
        keys.update(keys_of(record.value() for record in records))

    read_span(bootstrap, start, {OUTCOMES.name: wanted}, collect)
    return keys
