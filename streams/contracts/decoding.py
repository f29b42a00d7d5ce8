"""Decodes the values of internal and public topics: whatever is wrong with one is an ``InvalidEvent``, and never another error.

A reader of a topic meets what anybody who may produce has written there. It keeps what it refuses as a dead letter, or counts it
(``streams.runtime.passed_over``), and goes on with the next record.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from features.transaction import EARLIEST_EVENT, LATEST_EVENT
from streams.contracts.invalid_event import InvalidEvent, decode_json

T = TypeVar("T", bound=msgspec.Struct)

#: largest value of a topic that only processes and commands of the system write, if it does not say another
MAX_RECORD_BYTES = 65_536


class RecordDecoder(Generic[T]):
    """Decodes JSON values of one topic into a struct. Times must lie between 2000 and 2100, wherever they stand."""

    def __init__(self, kind: type[T], *, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._max_bytes = max_bytes
        self._times = tuple(field.name for field in msgspec.structs.fields(kind) if _holds_time(field.type))

    def __call__(self, raw: bytes | None) -> T:
        """The struct in a value.

        Raises:
            InvalidEvent: ``empty``, ``too_large``, ``not_utf8``, ``not_json``, ``field`` or ``event_time_range``.
        """
        if not raw:
            raise InvalidEvent("empty", "", "the record has no value")
        if len(raw) > self._max_bytes:
            raise InvalidEvent(
                "too_large", "", f"the value has {len(raw)} bytes, more than {self._max_bytes}"
            )
        found: T = decode_json(self._decoder, raw)
        for name in self._times:
            moment = getattr(found, name)
            # compared first: at the ends of the calendar other arithmetic overflows
            if moment is not None and not EARLIEST_EVENT <= moment < LATEST_EVENT:
                raise InvalidEvent("event_time_range", name, f"{name} is not between 2000 and 2100")
        return found


def _holds_time(kind: Any) -> bool:
    """Whether values of a type are times, or times and None."""
    info = msgspec.inspect.type_info(kind)
    return any(isinstance(one, msgspec.inspect.DateTimeType) for one in getattr(info, "types", (info,)))
