"""The source of an outcome: the record of `labels` or `decisions` that completed the pair, named in a header.

A record completes at most one pair, so readers recognise an outcome repeated after a crash by its source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.log.records import offset_in

HEADER_OUTCOME_SOURCE = "tollgate-outcome-source"  # "topic:partition:offset"


class OutcomeSource(NamedTuple):
    """One record of `labels` or `decisions`."""

    topic: str
    partition: int
    offset: int


def source_header(source: OutcomeSource) -> tuple[str, bytes]:
    """The header that names ``source``."""
    return HEADER_OUTCOME_SOURCE, f"{source.topic}:{source.partition}:{source.offset}".encode()


def source_of(headers: Iterable[tuple[str, bytes | None]] | None) -> OutcomeSource | None:
    """The source in an outcome's headers; None if there is none or it does not parse."""
    for key, value in headers or ():
        if key == HEADER_OUTCOME_SOURCE:
            topic, *place = (value or b"").split(b":")
            numbers = [number for part in place if (number := offset_in(part)) is not None]
            if len(place) == len(numbers) == 2:
                return OutcomeSource(topic.decode("ascii", "replace"), *numbers)
    return None
