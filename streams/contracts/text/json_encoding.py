"""Public events as JSON bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

# attributes of one's own in one order, whatever order they came in
_encoder = msgspec.json.Encoder(order="deterministic")


def encode(event: Any) -> bytes:
    """JSON bytes of any event struct; times are RFC 3339 with zone."""
    return _encoder.encode(event)


def encode_many(events: Iterable[Any]) -> list[bytes]:
    """``encode`` of each event in one call. Encoded JSON contains no line break, so lines can be split."""
    return _encoder.encode_lines(events).split(b"\n")[:-1]
