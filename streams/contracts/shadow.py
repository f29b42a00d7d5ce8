"""A record of `shadow`: what two models say about the same payments, in columns. Internal: scoring writes, the rollout process counts."""

from __future__ import annotations

import msgspec

from models.rollout.names import Name
from streams.contracts.invalid_event import InvalidEvent

#: a batch of 1,000 rows has about 60 kB
MAX_SHADOW_BYTES = 1_048_576
#: of ISO 4217
_CURRENCY_LETTERS = 3


class ShadowBatch(msgspec.Struct, frozen=True, kw_only=True):
    """n payments that the champion decided, and what the challenger would have decided with its own policy.

    ``cards``, ``currencies``: n. ``amounts_minor``: int64 (n,), little endian. ``champion_codes``, ``challenger_codes``: int8 (n,),
    positions in ``models.decision.DECISIONS``; the challenger's is -1 where it failed. ``champion_scores``, ``challenger_scores``:
    float32 (n,), little endian, NaN without a score. ``dropped``: payments that were not scored since the batch before, because the
    shadow was behind. ``run``: id of the rollout. ``at_ms``: since 1970.
    """

    run: str
    champion: Name
    challenger: Name
    at_ms: int
    cards: list[str]
    currencies: list[str]
    amounts_minor: bytes
    champion_codes: bytes
    challenger_codes: bytes
    champion_scores: bytes
    challenger_scores: bytes
    dropped: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ShadowBatch)


def encode_shadow(batch: ShadowBatch) -> bytes:
    """The value of the record."""
    return _encoder.encode(batch)


def decode_shadow(raw: bytes | None) -> ShadowBatch:
    """The batch in a value.

    Raises:
        InvalidEvent: it does not parse, or its columns have different lengths.
    """
    if not raw or len(raw) > MAX_SHADOW_BYTES:
        raise InvalidEvent("too_large" if raw else "empty", "", f"the value has {len(raw or b'')} bytes")
    try:
        batch = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise InvalidEvent("field", "", f"no shadow batch: {error}") from error
    n = len(batch.cards)
    found = (
        len(batch.currencies), len(batch.amounts_minor) / 8, len(batch.champion_codes), len(batch.challenger_codes),
        len(batch.champion_scores) / 4, len(batch.challenger_scores) / 4,
    )  # fmt: skip
    if any(length != n for length in found):
        raise InvalidEvent(
            "field", "cards", f"the columns of a shadow batch of {n} rows have different lengths"
        )
    if any(len(currency) != _CURRENCY_LETTERS for currency in set(batch.currencies)):
        raise InvalidEvent("field", "currencies", "a currency has three letters")
    return batch
