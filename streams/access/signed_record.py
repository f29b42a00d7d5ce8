"""A Kafka record with its signature, in two headers: ``signed-by`` (a name) and ``signature`` (Ed25519, 64 bytes).

A record keeps its headers when its topic is compacted. Nothing here verifies: ``streams.access.signatures`` does.
"""

from __future__ import annotations

from typing import Any

import msgspec

SIGNED_BY, SIGNATURE = "signed-by", "signature"
_MAX_HEADER_BYTES = 256


class Signed(msgspec.Struct, frozen=True):
    """A value, the name that stands for its signer, and the signature; each may be empty or wrong."""

    value: bytes
    signed_by: str = ""
    signature: bytes = b""


def received(message: Any) -> Signed:
    """The parts of a Kafka message; an absent header is empty."""
    try:
        sent = message.headers() or ()
    except (UnicodeDecodeError, SystemError):
        # the name of a header is not UTF-8: nobody of ours wrote it. SystemError: see ``streams.runtime.kafka.clients.headers_of``
        sent = ()
    found = {
        name: value for name, value in sent if isinstance(value, bytes) and len(value) <= _MAX_HEADER_BYTES
    }
    name = found.get(SIGNED_BY, b"").decode("utf-8", "replace")
    return Signed(message.value() or b"", name, found.get(SIGNATURE, b""))


def headers(record: Signed) -> list[tuple[str, str | bytes | None]]:
    """The headers that carry a signature."""
    return [(SIGNED_BY, record.signed_by.encode()), (SIGNATURE, record.signature)]
