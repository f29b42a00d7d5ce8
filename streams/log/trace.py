"""The W3C trace context that travels with a transaction, as a header of HTTP and of Kafka."""

from __future__ import annotations

import re

HEADER_TRACE = "traceparent"
#: https://www.w3.org/TR/trace-context/#traceparent-header, version 00: neither id is all zeros
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def parse_traceparent(raw: bytes | None) -> str | None:
    """The trace of a header; None where it is none. A caller ignores such a header, as the standard says."""
    return raw.decode("ascii") if raw and _TRACEPARENT.fullmatch(raw) else None
