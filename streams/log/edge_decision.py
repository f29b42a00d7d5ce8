"""The HTTP edge's decision in the header HEADER_DECIDED of the transaction that it publishes: what it holds, and when it is believed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from features.transaction import Transaction, epoch_ms
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.log.records import Offset
from streams.log.seal import DECIDED, Forged, Key, Keys, opened, sealed

#: between the edge's decision and the append of its record: a caller's retry publishes a decision again for an hour
MAX_AGE_MS = 3_900_000


class EdgeDecision(msgspec.Struct, array_like=True, frozen=True):
    """A decision as JSON, and the features that it was made from."""

    decision: bytes
    catalogue: str
    #: little-endian float32
    vector: bytes
    as_of: tuple[Offset, Offset, Offset, Offset, Offset]
    missing: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    frauds_as_of: Offset = -1


#: of an EdgeDecision, or of a tuple of its fields
encode_edge_decision = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(EdgeDecision)


def seal_decision(key: Key, value: bytes, encoded: bytes) -> bytes:
    """The header for an encoded EdgeDecision about the transaction in ``value``, the record's bytes."""
    return sealed(key, DECIDED, value, encoded)


def open_decision(
    keys: Keys, raw: bytes | None, value: bytes, tx: Transaction, appended_ms: int
) -> EdgeDecision:
    """The decision in a header; ``value`` and ``tx``: the record's; ``appended_ms``: when the broker took the record.

    Raises:
        Forged: the edge did not make it, or not for this transaction, or too long ago.
    """
    encoded = opened(keys, DECIDED, value, raw)
    try:
        edge: EdgeDecision = _decoder.decode(encoded)
        decision = decode_decision(edge.decision)
    except (InvalidEvent, *UNREADABLE) as error:
        raise Forged("unreadable", f"the sealed decision does not parse: {type(error).__name__}") from None
    if len(edge.vector) % 4:
        raise Forged("unreadable", "the sealed features are no float32")
    if (decision.identity, decision.card_id) != (tx.identity, tx.card_id):
        raise Forged("other_payment", "the sealed decision is another transaction's")
    if appended_ms - epoch_ms(decision.decided_at) > MAX_AGE_MS:
        raise Forged(
            "old", f"it was decided more than {MAX_AGE_MS // 60_000} minutes before the broker got it"
        )
    return edge
