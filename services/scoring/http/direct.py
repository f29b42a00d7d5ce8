"""Answers scoring requests inside uvicorn's protocol class, without Ray Serve and ASGI.

Per request, Serve and ASGI take more time than the decision: two tasks, a queue, two passes over the routes, a context,
a log record and metrics of their own. A refusal at overload would cost nearly as much as an accepted request, and at twice the
capacity a third of the goodput would be lost to refusals. Here a request costs one parse and one write, and a refusal a tenth of
a decision. All other routes, pipelined requests and requests with `Expect: 100-continue` pass through uvicorn to Serve.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, cast

import uvicorn.config
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.scoring.edge.problems import PROBLEM_JSON, Problem, internal, too_large
from services.scoring.http.scoring_routes import (
    MAX_DROPPED_BYTES,
    PATHS,
    REQUEST_WITHIN_S,
    Scoring,
    too_slow,
)
from streams.runtime.metrics import HTTP_REQUESTS

logger = logging.getLogger(__name__)

_PATHS = {path.encode(): path for path in PATHS}
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
_CLOSE = b"connection: close\r\n"
_PROBLEM = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b"


class _Unheard:
    """Replaces the event with which uvicorn wakes an ASGI application; there is none here."""

    def set(self) -> None:
        pass


class Exchange:
    """One scoring request on its connection, with the attributes that uvicorn's protocol reads of a request cycle."""

    message_event: ClassVar[_Unheard] = _Unheard()
    __slots__ = (
        "body",
        "disconnected",
        "dropped",
        "keep_alive",
        "limit",
        "more_body",
        "path",
        "response_complete",
    )

    def __init__(self, path: str, limit: int, keep_alive: bool) -> None:
        self.path, self.limit, self.keep_alive = path, limit, keep_alive
        self.body = bytearray()
        #: bytes of a body that is too large
        self.dropped = 0
        self.more_body = True
        self.disconnected = False
        self.response_complete = False


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, extended with the two scoring routes; ``direct_protocol`` binds it to an edge."""

    scoring: ClassVar[Scoring]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._whole = True
        self._deadline: asyncio.TimerHandle | None = None
        self._counters: dict[tuple[str, int], Counter] = {}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # a new connection without a request gets the same timeout as an idle one
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._whole:
            self._unset_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(REQUEST_WITHIN_S, self._cut)

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with a problem, as all other errors."""
        self.transport.write(_problem_answer(Problem(400, "not_http", msg), keep_alive=False))
        self.transport.close()

    def on_message_begin(self) -> None:
        self._whole = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        path = _PATHS.get(self.url)
        busy = self.cycle is not None and not self.cycle.response_complete
        if path is None or busy or self.expect_100_continue or self.parser.get_method() != b"POST":
            super().on_headers_complete()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange = Exchange(path, self.scoring.limit(path), keep_alive)
        self.cycle = cast(Any, exchange)
        for name, value in self.headers:
            if name == b"content-length" and int(value) > MAX_DROPPED_BYTES:
                self._refuse(exchange, too_large(exchange.limit), close=True)

    def on_body(self, body: bytes) -> None:
        exchange: Any = self.cycle
        if type(exchange) is not Exchange:
            super().on_body(body)
        elif not exchange.response_complete:
            exchange.body += body
            if exchange.dropped or len(exchange.body) > exchange.limit:
                exchange.dropped += len(exchange.body)
                exchange.body.clear()
            if exchange.dropped > MAX_DROPPED_BYTES:
                self._refuse(exchange, too_large(exchange.limit), close=True)

    def on_message_complete(self) -> None:
        self._whole = True
        exchange: Any = self.cycle
        if type(exchange) is not Exchange:
            super().on_message_complete()
        elif not exchange.response_complete:
            exchange.more_body = False
            if exchange.dropped:
                self._refuse(exchange, too_large(exchange.limit))
            else:
                self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        try:
            answer = self.scoring.begin(exchange.path, bytes(exchange.body), dict(self.headers))
        except Problem as problem:
            self._refuse(exchange, problem)
            return
        except Exception:  # top of the request: uvicorn would report it as invalid HTTP
            logger.exception("%s failed", exchange.path)
            self._refuse(exchange, internal())
            return
        answer.add_done_callback(lambda done: self._done(exchange, done))

    def _done(self, exchange: Exchange, answer: asyncio.Future[bytes]) -> None:
        error = answer.exception()
        if error is None:
            body = answer.result()
            self._write(exchange, _OK % (len(body), b"" if exchange.keep_alive else _CLOSE, body))
            self._count(exchange.path, 200)
        elif isinstance(error, Problem):
            self._refuse(exchange, error)
        else:
            logger.error("%s failed", exchange.path, exc_info=error)
            self._refuse(exchange, internal())

    def _refuse(self, exchange: Exchange, problem: Problem, *, close: bool = False) -> None:
        if close:
            # the rest of the body is not read, so the connection cannot be used again
            exchange.keep_alive = False
        self._write(exchange, _problem_answer(problem, keep_alive=exchange.keep_alive))
        self._count(exchange.path, problem.status)

    def _write(self, exchange: Exchange, answer: bytes) -> None:
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        self.transport.write(answer)
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _cut(self) -> None:
        """The request did not arrive within ``REQUEST_WITHIN_S``: refuse it and close the connection."""
        self._deadline = None
        exchange: Any = self.cycle
        if type(exchange) is Exchange and not exchange.response_complete:
            self._refuse(exchange, too_slow(), close=True)
        elif not self.transport.is_closing():
            self.transport.write(_problem_answer(too_slow(), keep_alive=False))
            self.transport.close()

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _count(self, path: str, status: int) -> None:
        counter = self._counters.get((path, status))
        if counter is None:
            counter = self._counters[path, status] = HTTP_REQUESTS.labels(path, str(status))
        counter.inc()


def direct_protocol(scoring: Scoring) -> type[DirectProtocol]:
    """A protocol class for ``uvicorn.Config(http=...)`` that serves ``scoring``."""
    return type("BoundDirectProtocol", (DirectProtocol,), {"scoring": scoring})


def serve_directly(scoring: Scoring) -> None:
    """Make uvicorn servers started later in this process use the protocol. Serve offers no option for this."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = cast(Any, direct_protocol(scoring))


def _problem_answer(problem: Problem, *, keep_alive: bool) -> bytes:
    body = problem.to_json()
    more = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items()).encode()
    if not keep_alive:
        more += _CLOSE
    title = problem.title.encode()
    return _PROBLEM % (problem.status, title, PROBLEM_JSON.encode(), len(body), more, body)
