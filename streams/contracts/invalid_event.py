"""The error for events that break their contract, and the checks that all public events share."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from features.transaction import EARLIEST_EVENT, LATEST_EVENT, MAX_AHEAD_MS


class InvalidEvent(Exception):
    """An event breaks its contract. ``field`` is the field's name, ``reason`` a metric label, the text is for people."""

    def __init__(self, reason: str, field: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.field = field


EARLIEST_MS = int(EARLIEST_EVENT.timestamp() * 1000)

LATEST_MS = int(LATEST_EVENT.timestamp() * 1000)

_FIELD = re.compile(r"`\$\.?([^`]*)`")


#: every way in which decoding bytes of others fails: msgspec's own errors, characters that are no UTF-8, nesting that is too deep,
#: numbers and times out of range, a value where None or another type stands
UNREADABLE = (
    msgspec.MsgspecError,
    UnicodeError,
    RecursionError,
    ArithmeticError,
    ValueError,
    TypeError,
    MemoryError,
)


def decode_json(decoder: Any, raw: bytes) -> Any:
    """What a decoder makes of bytes that anybody may have written. Raises: InvalidEvent, and nothing else."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        field = found.group(1) if found else ""
        missing = re.search(r"missing required field `([^`]+)`", str(error))
        raise InvalidEvent(
            "field", missing.group(1) if missing else field, _plainly(str(error), field)
        ) from None
    except msgspec.DecodeError as error:
        text = str(error)
        reason = "not_utf8" if "utf-8" in text.lower() else "not_json"
        raise InvalidEvent(reason, "", f"not JSON: {text}") from None
    except RecursionError:
        raise InvalidEvent("not_json", "", "not JSON: nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidEvent("not_utf8", "", "not UTF-8") from None
    except UNREADABLE as error:
        raise InvalidEvent("not_json", "", f"not JSON: {error}") from None


def _plainly(text: str, field: str) -> str:
    """Rewrite the parser's message for the person who has to correct the record."""
    if "RFC3339" in text:
        return f"{field} is not a valid time: use RFC 3339 with zone, such as 2026-11-21T10:15:30Z"
    if "timezone" in text:
        return f"{field} has no zone: use RFC 3339 with zone, such as 2026-11-21T10:15:30Z"
    return text


def check_not_ahead(event_ms: int, appended_ms: int) -> None:
    """Refuse an event whose time is too far after ``appended_ms``, the time at which the broker (or the HTTP edge) got it.

    Raises:
        InvalidEvent: ``event_time_ahead``.
    """
    if event_ms > appended_ms + MAX_AHEAD_MS:
        ahead_h = (event_ms - appended_ms) / 3_600_000
        raise InvalidEvent(
            "event_time_ahead", "event_time", f"event_time is {ahead_h:.0f} hours in the future"
        )
