"""Error answers of the console: RFC 9457 problems, and what each error of the parts that it asks becomes."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from confluent_kafka import KafkaException
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from features.store.redis_client import StoreUnavailable
from infra.oncall.alerts import AlertmanagerUnavailable
from models.bundle.content import BundleRefused
from services.rollout.confirmation import NotServed
from services.rollout.requests import RolloutRefused, RolloutTimeout
from streams.access.directory import AccessDenied, AccessError
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import mask_text
from streams.log.rollouts.feed import RolloutsUnreachable
from streams.runtime.kafka.clients import DeliveryError
from streams.runtime.kafka.log_reader import LedgerUnreachable

logger = logging.getLogger(__name__)
PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """An error answer. ``reason`` is a short code for programs, ``text`` a sentence for people; ``more``: further fields."""

    def __init__(
        self, status: int, reason: str, text: str, field: str = "", retry_after_s: int = 0, **more: Any
    ) -> None:
        super().__init__(mask_text(text))
        self.status, self.reason, self.field, self.retry_after_s, self.more = (
            status,
            reason,
            field,
            retry_after_s,
            more,
        )


def signed_out() -> Problem:
    """401: there is no session, or it has ended."""
    return Problem(401, "signed_out", "sign in: there is no session, or it has ended")


def unknown(text: str) -> Problem:
    """404."""
    return Problem(404, "unknown", text)


def forbidden(text: str) -> Problem:
    """403."""
    return Problem(403, "forbidden", text)


def invalid(field: str, text: str) -> Problem:
    """422."""
    return Problem(422, "invalid", text, field)


def too_many(text: str, retry_after_s: float) -> Problem:
    """429 with Retry-After."""
    return Problem(429, "too_many", text, retry_after_s=max(1, round(retry_after_s)))


#: errors of the parts that are asked, by what they mean for the one who asked
_UNREACHABLE = (
    StoreUnavailable, LedgerUnreachable, RolloutsUnreachable, RolloutTimeout, DeliveryError, KafkaException,
    AlertmanagerUnavailable, ConnectionError,
)  # fmt: skip
_REFUSED = (RolloutRefused, NotServed, BundleRefused)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error is; None for a defect of the console."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, AccessDenied):
        return forbidden(str(error))
    if isinstance(error, AccessError):
        return invalid("", str(error))
    if isinstance(error, InvalidEvent):
        return invalid(error.field, str(error))
    if isinstance(error, _REFUSED):
        return Problem(409, "refused", str(error))
    if isinstance(error, StoreUnavailable):
        # also for people who are not signed in: Redis' own words may tell of the inside
        logger.warning("Redis cannot be used: %s", error)
        return Problem(
            503, "unreachable", "Redis, which holds the sessions, does not answer now", retry_after_s=2
        )
    if isinstance(error, _UNREACHABLE):
        return Problem(503, "unreachable", f"a part cannot be reached now: {error}", retry_after_s=2)
    return None


def answer(problem: Problem) -> Response:
    """The HTTP answer for a problem."""
    body = {
        "type": f"urn:tollgate:problem:{problem.reason}", "title": HTTPStatus(problem.status).phrase, "status": problem.status,
        "detail": str(problem), "field": problem.field, "reason": problem.reason, **problem.more,
    }  # fmt: skip
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s else {}
    return JSONResponse(body, problem.status, headers, PROBLEM_JSON)


def add_problems(app: FastAPI) -> None:
    """Answer every error with a problem; a defect is logged, and the caller learns no more than that."""

    async def failed(_: Request, error: Exception) -> Response:
        found = problem_of(error)
        if found is None:
            logger.error("a request failed", exc_info=error)
            found = Problem(500, "internal", "the console failed on this request and logged the error")
        return answer(found)

    async def malformed(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return answer(invalid(field, f"{field or 'the body'}: {first['msg']}"))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reason = {404: "no_route", 405: "method"}.get(error.status_code, "http")
        return answer(Problem(error.status_code, reason, str(error.detail)))

    for kind in (Problem, AccessDenied, AccessError, InvalidEvent, *_REFUSED, *_UNREACHABLE):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)
