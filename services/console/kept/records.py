"""What the console reads of records of `decisions` and `outcomes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from confluent_kafka import Message

from features.identity import DEFAULT_TENANT
from features.transaction import Instant, epoch_ms
from models.decision import DecisionName
from streams.contracts.decision import MAX_DECISION_BYTES
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.log.records import HEADER_ENTITIES, DecidedEntities, decode_entities
from streams.runtime.kafka.clients import headers_of
from streams.runtime.passed_over import pass_over


class Counted(msgspec.Struct, gc=False):
    """What is read of every decision."""

    decision: DecisionName
    status: Literal["scored", "degraded", "not_scored"]
    latency_ms: float
    tenant: str = DEFAULT_TENANT
    rules: tuple[str, ...] = ()


class _Decided(msgspec.Struct):
    transaction_id: str
    decision: DecisionName
    tenant: str = DEFAULT_TENANT


class Labelled(msgspec.Struct):
    """What is read of every outcome."""

    decision: _Decided
    label: Literal["fraud", "legit"]
    label_time: Instant
    source: str
    amount_minor: int | None = None
    currency: str | None = None


_counted_decoder = msgspec.json.Decoder(Counted)
_labelled_decoder = msgspec.json.Decoder(Labelled)


def counted(decided: Sequence[Message]) -> list[tuple[Message, Counted]]:
    """The decisions that can be read; others are passed over."""
    raws = [message.value() or b"" for message in decided]
    lines = b"\n".join(raws)
    # decoded in one call, for a third of the cost, where each record is one line
    if lines.count(b"\n") == len(raws) - 1 and all(raws):
        try:
            return list(zip(decided, _counted_decoder.decode_lines(lines), strict=True))
        except UNREADABLE:
            pass
    out = []
    for message, raw in zip(decided, raws, strict=True):
        try:
            out.append((message, _counted_decoder.decode(raw)))
        except UNREADABLE as error:
            pass_over(message, InvalidEvent("field", "", str(error)))
    return out


def labelled(message: Message) -> tuple[Labelled, int] | None:
    """An outcome and its label's time in milliseconds since 1970; None for what is none, which is passed over."""
    raw = message.value() or b""
    try:
        found = _labelled_decoder.decode(raw if len(raw) <= 2 * MAX_DECISION_BYTES else b"")
        return found, epoch_ms(found.label_time)
    except UNREADABLE as error:
        pass_over(message, InvalidEvent("field", "", str(error)))
        return None


def paid(message: Message) -> DecidedEntities | None:
    """What a decision's header says of its payment; None if it does not: whoever may produce can write there."""
    try:
        return decode_entities(dict(headers_of(message))[HEADER_ENTITIES] or b"")
    except (KeyError, *UNREADABLE):
        return None
