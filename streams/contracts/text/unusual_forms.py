"""Forms of an event that its contract allows and its types refuse: an optional field that is empty, a leap second."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams.contracts.invalid_event import UNREADABLE, InvalidEvent, decode_json

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_time_decoder = msgspec.json.Decoder(datetime)
_EMPTY = (b'""', b"null")


def decode_event(decoder: Any, raw: bytes, optional: Collection[str], times: Collection[str]) -> Any:
    """What a decoder makes of an event; costs more only where the decoder refuses it.

    Args:
        optional: fields that count as absent where they are null or an empty text, as an empty cell of a file does.
        times: fields whose 60th second is the one after.

    Raises:
        InvalidEvent: as ``decode_json``.
    """
    try:
        return decode_json(decoder, raw)
    except InvalidEvent:
        usual = _in_usual_form(raw, optional, times)
        if usual is None:
            raise
        return decode_json(decoder, usual)


def _in_usual_form(raw: bytes, optional: Collection[str], times: Collection[str]) -> bytes | None:
    """The same object without unusual forms; None where it has none."""
    try:
        fields = {name: bytes(value) for name, value in _object_decoder.decode(raw).items()}
    except UNREADABLE:
        return None
    usual = {
        name: _after_leap_second(value) if name in times else value
        for name, value in fields.items()
        if not (name in optional and value in _EMPTY)
    }
    if usual == fields:
        return None
    return msgspec.json.encode({name: msgspec.Raw(value) for name, value in usual.items()})


def _after_leap_second(value: bytes) -> bytes:
    """A JSON time in its minute's 60th second as the same time in the next minute, as clocks count it that know no leap seconds.

    RFC 3339 has such a second at the end of a month in UTC only (section 5.7); any other value stays as it is.
    """
    if value[17:20] != b":60":
        return value
    try:
        after = _time_decoder.decode(value[:17] + b":59" + value[20:]).astimezone(UTC) + timedelta(seconds=1)
    except UNREADABLE:
        return value
    begins_a_month = (after.day, after.hour, after.minute, after.second) == (1, 0, 0, 0)
    return msgspec.json.encode(after) if begins_a_month else value
