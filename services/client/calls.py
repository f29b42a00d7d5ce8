"""The client's calls without I/O: generators that yield requests and pauses, and receive the answers.

``Client`` and ``AsyncClient`` run the same generators, one with blocking calls, the other with awaited ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from features.identity import DEFAULT_TENANT
from features.transaction import Transaction
from models.decision import Decision
from services.client.answers import ItemProblem, ModelInfo, read_batch, read_decision, read_model
from services.client.problems import RETRIED, Problem, TollgateError, Unreachable, problem_of
from services.client.retries import Retry
from streams.contracts.deadline import MAX_DEADLINE_MS, MIN_DEADLINE_MS
from streams.contracts.label import Label
from streams.contracts.text.json_encoding import encode

#: how long to wait after the deadline for an answer that is already on its way
GRACE_S = 0.05


@dataclass(frozen=True)
class Send:
    """One HTTP request; its answer must arrive within ``timeout_s``."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]
    timeout_s: float


@dataclass(frozen=True)
class Pause:
    """Wait ``seconds`` before continuing."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """The answer to a request. ``status`` 0: none arrived, and ``content`` gives the reason."""

    status: int
    content: bytes
    retry_after: str = ""


T = TypeVar("T")
#: receives an Answer after a Send, None after a Pause
Call = Generator[Send | Pause, Answer | None, T]


@dataclass(frozen=True)
class Terms:
    """What calls depend on: retry policy, a monotonic clock in seconds, uniform random numbers in [0, 1)."""

    retry: Retry
    clock: Callable[[], float]
    draw: Callable[[], float]


def score(terms: Terms, transaction: Transaction, within_ms: int, trace: str | None = None) -> Call[Decision]:
    """Raises: TollgateError."""
    headers = {"traceparent": trace} if trace else {}
    answer = yield from _exchange(terms, "POST", "/v1/score", encode(transaction), within_ms, headers)
    return read_decision(answer.content)


def score_batch(
    terms: Terms, transactions: Sequence[Transaction], within_ms: int
) -> Call[list[Decision | ItemProblem]]:
    """Decide many. While time is left, items that may succeed later are sent again.

    Raises:
        TollgateError: the whole batch failed.
    """
    ends_s = terms.clock() + within_ms / 1000
    out: list[Decision | ItemProblem | None] = [None] * len(transactions)
    open_items = list(range(len(transactions)))
    attempt = 0
    while open_items:
        attempt += 1
        body = msgspec.json.encode({"transactions": [transactions[i] for i in open_items]})
        left_ms = max(1, int((ends_s - terms.clock()) * 1000))
        answer = yield from _exchange(terms, "POST", "/v1/score/batch", body, left_ms, {})
        for i, item in zip(open_items, read_batch(answer.content), strict=True):
            out[i] = item
        open_items = [i for i in open_items if _may_succeed(out[i])]
        if not open_items:
            break
        # items carry no Retry-After: only the back-off counts
        pause_s = terms.retry.pause_s(attempt, 0.0, ends_s - terms.clock(), terms.draw())
        if pause_s is None:
            break
        yield Pause(pause_s)
    return [item for item in out if item is not None]


def decision(terms: Terms, transaction_id: str, within_ms: int, tenant: str) -> Call[Decision]:
    """Raises: NotFound, TollgateError."""
    path = f"/v1/decisions/{quote(transaction_id, safe='')}"
    if tenant != DEFAULT_TENANT:
        path += f"?tenant={quote(tenant, safe='')}"
    answer = yield from _exchange(terms, "GET", path, None, within_ms, {})
    return read_decision(answer.content)


def label(terms: Terms, label: Label, within_ms: int) -> Call[None]:
    """Raises: TollgateError."""
    yield from _exchange(terms, "POST", "/v1/labels", encode(label), within_ms, {})


def model(terms: Terms, within_ms: int) -> Call[ModelInfo]:
    """Raises: TollgateError."""
    answer = yield from _exchange(terms, "GET", "/v1/model", None, within_ms, {})
    return read_model(answer.content)


def _may_succeed(item: Decision | ItemProblem | None) -> bool:
    return isinstance(item, ItemProblem) and isinstance(item.problem, RETRIED)


def _exchange(
    terms: Terms, method: str, path: str, body: bytes | None, within_ms: int, headers: dict[str, str]
) -> Call[Answer]:
    """Send until there is a final answer, or attempts or time are used up.

    Raises:
        TollgateError: the last failure.
    """
    if within_ms < 1:
        raise ValueError(f"a call needs at least 1 ms, not {within_ms}")
    ends_s = terms.clock() + within_ms / 1000
    attempt = 0
    while True:
        attempt += 1
        left_s = max(0.001, ends_s - terms.clock())
        deadline_ms = min(MAX_DEADLINE_MS, max(MIN_DEADLINE_MS, round(left_s * 1000)))
        sent = {**headers, "x-deadline-ms": str(deadline_ms)}
        if body is not None:
            sent["content-type"] = "application/json"
        answer = yield Send(method, path, body, sent, left_s + GRACE_S)
        assert answer is not None
        if 200 <= answer.status < 300:
            return answer
        failure = _failure(answer, method, path)
        retried = isinstance(failure, (Unreachable, *RETRIED))
        after_s = failure.retry_after_s if isinstance(failure, Problem) else 0.0
        pause_s = terms.retry.pause_s(attempt, after_s, ends_s - terms.clock(), terms.draw())
        if not retried or pause_s is None:
            raise failure
        yield Pause(pause_s)


def _failure(answer: Answer, method: str, path: str) -> TollgateError:
    if answer.status == 0:
        return Unreachable(f"{method} {path}: {answer.content.decode(errors='replace')}")
    return problem_of(answer.status, answer.content, answer.retry_after)
