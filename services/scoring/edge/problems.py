"""Error answers of the HTTP edge: RFC 9457 problems, one class, card numbers masked."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec

from features.transaction import Transaction
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import mask_text
from streams.runtime.log_throttle import THROTTLED

logger = logging.getLogger(f"{THROTTLED}.store")

PROBLEM_JSON = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal error",
    503: "Service unavailable",
}


class Problem(Exception):
    """An error answer. ``reason`` is a short code for programs, ``text`` a sentence for people.

    ``retry_after_s`` above 0 becomes a Retry-After header, ``allow`` (methods) an Allow header, ``challenge`` WWW-Authenticate.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        text: str,
        field: str = "",
        retry_after_s: int = 0,
        allow: str = "",
        challenge: str = "",
    ) -> None:
        # parsers quote what they refuse, which may be a card number
        super().__init__(mask_text(text))
        self.status = status
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s
        self.allow = allow
        self.challenge = challenge

    @property
    def title(self) -> str:
        """The status as text."""
        return _TITLES.get(self.status) or HTTPStatus(self.status).phrase

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer besides its type and length."""
        said = {
            "retry-after": str(self.retry_after_s) if self.retry_after_s else "",
            "allow": self.allow,
            "www-authenticate": self.challenge,
        }
        return {name: value for name, value in said.items() if value}

    def to_json(self) -> bytes:
        """The problem as ``application/problem+json``."""
        return msgspec.json.encode(
            {
                "type": f"urn:tollgate:problem:{self.reason}",
                "title": self.title,
                "status": self.status,
                "detail": str(self),
                "field": self.field,
                "reason": self.reason,
            }
        )


def invalid(error: InvalidEvent) -> Problem:
    """422: the event does not follow its contract."""
    return Problem(422, error.reason, str(error), error.field)


def unauthenticated(text: str) -> Problem:
    """401: there is no API key, or it does not count."""
    return Problem(401, "unauthenticated", text, "Authorization", challenge="Bearer")


def forbidden(text: str, field: str = "Authorization") -> Problem:
    """403: the API key may not do this."""
    return Problem(403, "forbidden", text, field)


def conflict(transaction: Transaction) -> Problem:
    """409: the id was used for another transaction."""
    return Problem(
        409,
        "other_body",
        f"transaction {transaction.transaction_id} of tenant {transaction.tenant} was sent before with different content",
        "transaction_id",
    )


def unavailable(reason: str, text: str) -> Problem:
    """503 with Retry-After."""
    return Problem(503, reason, text, retry_after_s=1)


def too_slow(within_s: float) -> Problem:
    """408: the request did not arrive in time."""
    return Problem(408, "too_slow", f"the request was not complete within {within_s:g} s")


def too_large(limit: int) -> Problem:
    """413: the body has more than ``limit`` bytes."""
    return Problem(413, "too_large", f"the body has more than {limit} bytes")


def store_unavailable() -> Problem:
    """503: Redis cannot be used."""
    return unavailable("store", "the store of decisions cannot be used now; try again shortly")


def store_failed(error: object) -> Problem:
    """As ``store_unavailable``. The log gets the store's own words, which the caller does not: they may tell of the inside."""
    logger.warning("requests are refused, because Redis cannot be used: %s", error)
    return store_unavailable()


def compressed() -> Problem:
    """415: the body is not JSON as it is."""
    text = "send the body as it is: no content encoding (gzip, br, zstd, deflate) is supported"
    return Problem(415, "encoding", text, "Content-Encoding")


def internal() -> Problem:
    """500: the error goes to the log, not to the caller."""
    return Problem(500, "internal", "the edge failed on this request and logged the error; send it again")


def unknown(tenant: str, transaction_id: str) -> Problem:
    """404: no decision is known for the id."""
    text = f"no decision is known for transaction {transaction_id} of tenant {tenant} (?tenant=NAME asks for another tenant's)"
    return Problem(404, "unknown", text, "transaction_id")


def overloaded(in_flight: int) -> Problem:
    """503 at once: too many transactions are in flight."""
    return unavailable("overloaded", f"{in_flight} transactions are in flight; try again shortly")


def late() -> Problem:
    """503 at the deadline: not decided yet."""
    return unavailable("deadline", "the deadline passed before there was a decision; send it again")


def unacknowledged() -> Problem:
    """503 at the deadline: decided, but the broker has not acknowledged the transaction yet."""
    text = "the broker did not acknowledge the transaction in time; send it again for the same decision"
    return unavailable("unacknowledged", text)


def not_ready(why: str) -> Problem:
    """503: this replica should get no traffic."""
    return unavailable("not_ready", why)
