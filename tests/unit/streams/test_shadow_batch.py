"""A shadow batch comes back as it was sent, and one with columns of different lengths is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.shadow import ShadowBatch, decode_shadow, encode_shadow

BATCH = ShadowBatch(
    run="r", champion="1.0.0", challenger="1.1.0", at_ms=5, cards=["a", "b"], currencies=["EUR", "USD"],
    amounts_minor=np.array([100, 200], "<i8").tobytes(), champion_codes=bytes([0, 2]), challenger_codes=bytes([1, 255]),
    champion_scores=np.array([0.1, 0.9], "<f4").tobytes(), challenger_scores=np.array([0.2, np.nan], "<f4").tobytes(),
)  # fmt: skip


def test_round_trip() -> None:
    assert decode_shadow(encode_shadow(BATCH)) == BATCH


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"{}",
        encode_shadow(msgspec.structs.replace(BATCH, cards=["a"])),
        b"x" * 2_000_000,
        encode_shadow(msgspec.structs.replace(BATCH, currencies=["EUR", "x" * 1000])),
    ],
)
def test_what_is_no_batch_is_refused(raw: bytes | None) -> None:
    with pytest.raises(InvalidEvent):
        decode_shadow(raw)
