"""The exceptions of the client: one per cause, so that callers need not check status codes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class TollgateError(Exception):
    """Any failure of a call."""


class Unreachable(TollgateError):
    """No answer in time: connection refused, connection broken, or timeout.

    It is unknown whether the transaction was decided; repeating the call returns the same decision.
    """


class Problem(TollgateError):
    """A problem reported by the edge (RFC 9457). ``reason`` is a code for programs, ``field`` the invalid field."""

    def __init__(
        self, status: int, reason: str, detail: str, field: str = "", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s


class NotFound(Problem):
    """404: the id is unknown."""


class Conflict(Problem):
    """409: the id was sent before with different content."""


class Invalid(Problem):
    """413 or 422: the input is invalid; repeating the call does not help."""


class OverQuota(Problem):
    """429: the tenant exceeds its rate limit."""


class Unavailable(Problem):
    """500, 502, 503, 504 or 408: overloaded, a part is down, or the deadline passed; the call may be repeated."""


_TYPES: Mapping[int, type[Problem]] = {
    404: NotFound, 409: Conflict, 413: Invalid, 422: Invalid, 429: OverQuota,
    408: Unavailable, 500: Unavailable, 502: Unavailable, 503: Unavailable, 504: Unavailable,
}  # fmt: skip
#: problems after which the call is retried: the edge decides an id once, however often it is sent
RETRIED = (OverQuota, Unavailable)


class ProblemBody(msgspec.Struct):
    """``application/problem+json`` as the edge writes it."""

    status: int = 0
    reason: str = ""
    detail: str = ""
    field: str = ""


def problem_of(status: int, content: bytes, retry_after: str = "") -> Problem:
    """The exception for an answer outside 2xx. The body of a proxy, which is not a problem, is kept as text."""
    try:
        body = msgspec.json.decode(content, type=ProblemBody)
    except msgspec.MsgspecError:
        body = ProblemBody(detail=content[:200].decode(errors="replace"), reason="not_of_the_edge")
    return item_problem(
        ProblemBody(status, body.reason, body.detail, body.field), parse_retry_after(retry_after)
    )


def item_problem(body: ProblemBody, retry_after_s: float = 0.0) -> Problem:
    """The exception for a problem body."""
    return _TYPES.get(body.status, Problem)(body.status, body.reason, body.detail, body.field, retry_after_s)


def parse_retry_after(value: str) -> float:
    """Seconds; 0 if the header is missing or a date, which the edge never sends."""
    return float(value) if value.isascii() and value.isdecimal() else 0.0
