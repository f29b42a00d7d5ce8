"""Where an outcome comes from: the record of `labels` or `decisions` that completed the pair, named in a header.

A record completes at most one pair, so readers know by its source an outcome that a crash repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEADER_OUTCOME_SOURCE = "tollgate-outcome-source"  # "topic:partition:offset"
#: of an offset: more does not fit 64 bits
_MAX_DIGITS = 18


class OutcomeSource(NamedTuple):
    """One record of `labels` or `decisions`."""

    topic: str
    partition: int
    offset: int


def source_header(source: OutcomeSource) -> tuple[str, bytes]:
    """The header that names ``source``."""
    return HEADER_OUTCOME_SOURCE, f"{source.topic}:{source.partition}:{source.offset}".encode()


def source_of(headers: Iterable[tuple[str, bytes | None]] | None) -> OutcomeSource | None:
    """The source that an outcome's headers name; None where there is none, or none that parses."""
    for key, value in headers or ():
        if key == HEADER_OUTCOME_SOURCE:
            topic, *place = (value or b"").split(b":")
            if len(place) == 2 and all(part.isdigit() and len(part) <= _MAX_DIGITS for part in place):
                return OutcomeSource(topic.decode("ascii", "replace"), int(place[0]), int(place[1]))
    return None
