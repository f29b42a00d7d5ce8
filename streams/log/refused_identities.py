"""Which records of `transactions` were refused because of their identity, read from the dead letters.

Whoever computes state from the log again leaves them out, as the processor did. It knew more than one partition's log tells: that the
first of an identity is on another card's partition, or that the decision index held it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams.log.topics import DEAD_LETTERS, TRANSACTIONS
from streams.runtime.kafka.log_reader import read_span, whole_log

#: reasons of dead letters: another transaction's identity, and a payment older than what is remembered
CONFLICT, TOO_OLD = "conflict", "too_old"


class _Letter(msgspec.Struct):
    reason: str
    source_topic: str
    source_partition: int
    source_offset: int


_decoder = msgspec.json.Decoder(_Letter)


def refused_identities(bootstrap: str) -> dict[int, set[int]]:
    """The offsets refused, by partition of `transactions`.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    out: dict[int, set[int]] = {}

    def take(records: list[Any]) -> None:
        for record in records:
            try:
                letter = _decoder.decode(record.value() or b"")
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if letter.source_topic == TRANSACTIONS.name and letter.reason in (CONFLICT, TOO_OLD):
                out.setdefault(letter.source_partition, set()).add(letter.source_offset)

    first, end = whole_log(bootstrap, [DEAD_LETTERS.name])
    read_span(bootstrap, first, end, take)
    return out
