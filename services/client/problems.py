"""What a call can end with instead of an answer: one exception a cause, so that callers need not look at status codes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class TollgateError(Exception):
    """Any failure of a call."""


class Unreachable(TollgateError):
    """No answer within the time given: nobody listens, the connection broke, or it took too long.

    Whether the transaction was decided is unknown; the same call again gives the same decision.
    """


class Problem(TollgateError):
    """The edge's own answer (RFC 9457). ``reason`` is a short word for programs, ``field`` what does not fit."""

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
    """404: nothing is known of the id."""


class Conflict(Problem):
    """409: the id was sent before with another content."""


class Invalid(Problem):
    """413 or 422: the input does not fit its contract; sending it again does not help."""


class OverQuota(Problem):
    """429: the tenant is over its rate."""


class Unavailable(Problem):
    """500, 502, 503, 504 or 408: overloaded, a part is away, or the deadline passed; the same call may be repeated."""


_TYPES: Mapping[int, type[Problem]] = {
    404: NotFound, 409: Conflict, 413: Invalid, 422: Invalid, 429: OverQuota,
    408: Unavailable, 500: Unavailable, 502: Unavailable, 503: Unavailable, 504: Unavailable,
}  # fmt: skip
#: statuses after which the same call may succeed: the edge decides an id once, however often it is sent
RETRIED = (OverQuota, Unavailable)


class ProblemBody(msgspec.Struct):
    """``application/problem+json`` as the edge writes it."""

    status: int = 0
    reason: str = ""
    detail: str = ""
    field: str = ""


def problem_of(status: int, content: bytes, retry_after: str = "") -> Problem:
    """The exception of an answer that is none of 2xx. Bodies of proxies, which are no problems, are kept as text."""
    try:
        body = msgspec.json.decode(content, type=ProblemBody)
    except msgspec.MsgspecError:
        body = ProblemBody(detail=content[:200].decode(errors="replace"), reason="not_of_the_edge")
    return item_problem(
        ProblemBody(status, body.reason, body.detail, body.field), parse_retry_after(retry_after)
    )


def item_problem(body: ProblemBody, retry_after_s: float = 0.0) -> Problem:
    """The exception of one problem body."""
    return _TYPES.get(body.status, Problem)(body.status, body.reason, body.detail, body.field, retry_after_s)


def parse_retry_after(value: str) -> float:
    """Seconds; 0 where there is none or it is a date, which the edge never sends."""
    return float(value) if value.isascii() and value.isdecimal() else 0.0
