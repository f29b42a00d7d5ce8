"""HTTP around ``Edge``: routes, bodies and status codes. Decides nothing.

The two scoring routes bypass FastAPI's routing, validation and serialisation, which cost several times as much as a
decision. The OpenAPI document still describes them (``services.scoring.http.openapi``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from features.catalogue import CATALOGUE_HASH
from models.bundle.content import MODEL
from services.scoring.edge.callers import Callers
from services.scoring.edge.edge import Edge
from services.scoring.edge.problems import (
    PROBLEM_JSON,
    Problem,
    internal,
    invalid,
    not_ready,
    too_large,
    unknown,
)
from services.scoring.edge.tenants import tenant_of
from services.scoring.http.docs_page import add_docs
from services.scoring.http.openapi import document
from services.scoring.http.problems import add_problems, no_route, problem_response, wrong_method
from services.scoring.http.scoring_routes import (
    MAX_DROPPED_BYTES,
    PATHS,
    REQUEST_WITHIN_S,
    SCORE,
    Headers,
    Scoring,
    refuse_encoded,
    too_slow,
)
from services.scoring.model.serving import Challenger
from streams.access.roles import Permission
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.identifiers import checked_identifier
from streams.runtime.metrics import HTTP_REQUESTS

logger = logging.getLogger(__name__)
JSON = "application/json"
_BY_ID = b"/v1/decisions/"
Handle = Callable[[Request], Awaitable[Response]]
_JSON_BYTES, _PROBLEM_BYTES = JSON.encode(), PROBLEM_JSON.encode()


def build_app(edge: Edge) -> Application:
    """The whole HTTP edge as an ASGI application."""
    app = Application(Scoring(edge))
    _add_routes(app, edge)
    add_docs(app)
    add_problems(app)
    app.openapi = document  # type: ignore[method-assign]
    return app


class Application(FastAPI):
    """Serves ``POST /v1/score`` and ``/v1/score/batch`` itself, before any middleware; FastAPI serves all other routes."""

    def __init__(self, scoring: Scoring) -> None:
        super().__init__(
            title="Tollgate",
            openapi_url="/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self.scoring = scoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        path = scope["path"]
        if path not in PATHS or _is_escaped(scope):
            await self._other(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                raise wrong_method("POST")
            headers = dict(scope["headers"])
            body = await _read_body(headers, receive, self.scoring.limit(path))
            # shielded: a caller that disconnects must not cancel the work
            answer = await asyncio.shield(self.scoring.begin(path, body, headers))
        except Problem as problem:
            await _refuse(send, path, problem)
        except Exception:  # top of the request: the caller gets an answer, the log gets the traceback
            logger.exception("%s failed", path)
            await _refuse(send, path, internal())
        else:
            await _send(send, 200, _JSON_BYTES, answer)
            HTTP_REQUESTS.labels(path, "200").inc()

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's routes, and what is none: each is answered once the request's body is there (``MAX_DROPPED_BYTES``)."""
        try:
            body = await _read_body(dict(scope["headers"]), receive, self.scoring.limit(SCORE))
            if _is_escaped(scope):
                raise no_route()
        except Problem as problem:
            await _refuse(send, "other", problem)
            return
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def whole() -> Any:
            return given.pop() if given else await receive()

        await super().__call__(scope, whole, send)


def _is_escaped(scope: Scope) -> bool:
    """Whether a route's own name is written with escapes. Only ids need them: one route has one name."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return b"%" in raw and not raw.startswith(_BY_ID)


async def _read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Read the request's body.

    Raises:
        Problem: 413 above ``limit`` bytes, 408 when it does not arrive within ``REQUEST_WITHIN_S``.
    """
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_DROPPED_BYTES:
        raise too_large(limit)
    body, dropped = b"", 0
    try:
        async with asyncio.timeout(REQUEST_WITHIN_S):
            more = True
            while more and dropped <= MAX_DROPPED_BYTES:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if dropped or len(body) > limit:
                    body, dropped = b"", dropped + len(body)
    except TimeoutError:
        raise too_slow() from None
    if dropped:
        raise too_large(limit)
    return body


async def _refuse(send: Send, path: str, problem: Problem) -> None:
    more = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    await _send(send, problem.status, _PROBLEM_BYTES, problem.to_json(), more)
    HTTP_REQUESTS.labels(path, str(problem.status)).inc()


async def _send(
    send: Send, status: int, content_type: bytes, body: bytes, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _identifier(name: str, value: str) -> str:
    """In canonical form, as it is stored. Raises: Problem 422."""
    try:
        return checked_identifier(name, value)
    except InvalidEvent as error:
        raise invalid(error) from None


def _add_routes(app: FastAPI, edge: Edge) -> None:
    def route(method: str, path: str, handle: Handle, needs: Permission | None = None) -> None:
        handle = _counted(path, handle if needs is None else _for_callers(edge.callers, needs, handle))
        # what may be read may be asked for without its body, as load balancers do (RFC 9110, section 9.1)
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        app.add_api_route(path, handle, methods=methods, include_in_schema=False)

    async def find(request: Request) -> Response:
        transaction_id = _identifier("transaction_id", request.path_params["transaction_id"])
        tenant = _identifier("tenant", tenant_of(request.query_params.get("tenant"), request.state.caller))
        decision = await edge.find(tenant, transaction_id)
        if decision is None:
            raise unknown(tenant, transaction_id)
        return Response(decision, media_type=JSON)

    async def label(request: Request) -> Response:
        body = await _read_body(dict(request.scope["headers"]), request.receive, edge.limits.body_bytes)
        refuse_encoded(dict(request.scope["headers"]), body)
        await edge.label(body, request.state.caller)
        return Response(status_code=202)

    async def model(_: Request) -> Response:
        return Response(msgspec.json.encode(_model(edge)), media_type=JSON)

    async def healthy(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=JSON)

    async def ready(_: Request) -> Response:
        why = await edge.not_ready()
        if why is not None:
            raise not_ready(why)
        return Response(b'{"status":"ready"}', media_type=JSON)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    route("GET", "/v1/decisions/{transaction_id:path}", find, "read")
    route("POST", "/v1/labels", label, "label")
    route("GET", "/v1/model", model, "read")
    route("GET", "/healthz", healthy)
    route("GET", "/readyz", ready)
    route("GET", "/metrics", metrics, "read")


def _for_callers(callers: Callers, needs: Permission, handle: Handle) -> Handle:
    """``handle`` for those who may: their API key, or None, is ``request.state.caller``."""

    async def checked(request: Request) -> Response:
        request.state.caller = callers.caller(dict(request.scope["headers"]), needs)
        return await handle(request)

    return checked


def _counted(path: str, handle: Handle) -> Handle:
    async def counted(request: Request) -> Response:
        try:
            response = await handle(request)
        except Problem as problem:
            response = problem_response(problem)
        except Exception:  # as for the scoring routes
            logger.exception("%s failed", path)
            response = problem_response(internal())
        HTTP_REQUESTS.labels(path, str(response.status_code)).inc()
        return response

    return counted


def _model(edge: Edge) -> dict[str, Any]:
    live = edge.model
    scorer, challenger = live.serving.champion, live.serving.challenger
    return {
        "model": MODEL,
        "version": scorer.version if scorer is not None else None,
        "policy_version": scorer.policy.version if scorer is not None else None,
        "features_version": CATALOGUE_HASH,
        "arm": "champion",
        "challenger": _challenger(challenger) if challenger is not None else None,
        "rollout": _approval(live.rollout),
        "problem": live.problem if scorer is None else None,
    }


def _challenger(challenger: Challenger) -> dict[str, Any]:
    """The other arm of a rollout: its version, its share of the cards, and whether it scores beside the champion."""
    scorer = challenger.scorer
    return {
        "version": scorer.version,
        "policy_version": scorer.policy.version,
        "share": challenger.share,
        "shadow": challenger.shadow,
    }


def _approval(rollout: RolloutRecord | None) -> dict[str, Any] | None:
    """Who approved the served model, when and why."""
    if rollout is None:
        return None
    return {
        name: getattr(rollout, name)
        for name in ("state", "approved_by", "signed_by", "reviewed", "why", "since")
    }
