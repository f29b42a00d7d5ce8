"""The two scoring routes, from a body to a future of the answer: the code shared by ASGI and the direct protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from services.scoring.decision.deadline import BATCH_DEADLINES
from services.scoring.edge import problems
from services.scoring.edge.calls import Answer
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import parse_deadline
from services.scoring.edge.problems import Problem, compressed
from streams.access.api_keys import ApiKey
from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.text.repeated_fields import repeats_a_field
from streams.log.trace import parse_traceparent

SCORE, BATCH = "/v1/score", "/v1/score/batch"
PATHS = frozenset((SCORE, BATCH))
#: time for a request to arrive, from its first byte: bounds how long a slow sender holds a connection
REQUEST_WITHIN_S = 5.0
#: of a body that is too large so many bytes are read and dropped before the refusal. An answer before the body's end breaks what comes
#: next on the caller's connection: behind HAProxy one such request in a hundred met a closed connection, one in two thousand no answer at all
MAX_DROPPED_BYTES = 16 * 2**20


class _Batch(msgspec.Struct):
    transactions: list[msgspec.Raw]


#: first bytes of gzip and of zstd: no JSON begins with them
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_batch_decoder = msgspec.json.Decoder(_Batch)
#: one request's headers, lower case
Headers = dict[bytes, bytes]


class Scoring:
    """The scoring routes of one edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def limit(self, path: str) -> int:
        """Maximum size of a body sent to ``path``, bytes."""
        limits = self._edge.limits
        return limits.body_bytes if path == SCORE else limits.batch_bytes

    def begin(self, path: str, body: bytes, headers: Headers) -> asyncio.Future[bytes]:
        """Start a request; the future gives the answer's JSON or raises Problem.

        Raises:
            Problem: the request is refused at once.
        """
        caller = self._edge.callers.caller(headers, "score")
        refuse_encoded(headers, body)
        if path == SCORE:
            return self._edge.begin(
                body,
                _deadline_ms(headers, self._edge.settings.deadline_ms),
                parse_traceparent(headers.get(b"traceparent")),
                caller,
            )
        deadline_ms = _deadline_ms(headers, BATCH_DEADLINES * self._edge.settings.deadline_ms)
        items = _items(body, self._edge.limits.batch_items)
        return asyncio.get_running_loop().create_task(self._batch(items, deadline_ms, caller))

    async def _batch(self, items: list[bytes], deadline_ms: int, caller: ApiKey | None) -> bytes:
        answers = await self._edge.score_batch(items, deadline_ms, caller)
        return batch_answer(answers)


def batch_answer(answers: Sequence[Answer]) -> bytes:
    """A batch's answers as JSON, in order."""
    return b'{"decisions":[%b]}' % b",".join(
        b'{"error":%b}' % answer.to_json() if isinstance(answer, Problem) else answer for answer in answers
    )


def refuse_encoded(headers: Headers, body: bytes) -> None:
    """Raises: Problem 415: the body is compressed, or says that it is."""
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.strip().lower() not in (b"identity", b"") or body.startswith(_COMPRESSED):
        raise compressed()


def too_slow() -> Problem:
    return problems.too_slow(REQUEST_WITHIN_S)


def _items(body: bytes, most: int) -> list[bytes]:
    """The raw transactions of a batch.

    Raises:
        Problem: 422, not a batch, or too many items.
    """
    try:
        items = _batch_decoder.decode(body).transactions
    except UNREADABLE as error:
        reason = "field" if isinstance(error, msgspec.ValidationError) else "not_json"
        raise Problem(
            422, reason, f"a batch is an object with a list of transactions: {error}", "transactions"
        ) from None
    if body.count(b'"transactions"') > 1 and repeats_a_field(body):
        raise Problem(422, "repeated_field", "a field is named twice: send each field once", "transactions")
    if len(items) > most:
        raise Problem(
            422,
            "too_many",
            f"a batch has at most {most} transactions, this one has {len(items)}",
            "transactions",
        )
    return [bytes(item) for item in items]


def _deadline_ms(headers: Headers, default_ms: int) -> int:
    value = headers.get(b"x-deadline-ms")
    if value is None:
        return default_ms
    return parse_deadline(value.decode("latin-1"))
