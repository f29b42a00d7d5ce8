"""The blocking client."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

import httpx

from features.identity import DEFAULT_TENANT
from features.transaction import Transaction
from models.decision import Decision
from services.client import calls
from services.client.answers import ItemProblem, ModelInfo
from services.client.calls import Answer, Call, Pause, Send, Terms
from services.client.retries import Retry
from streams.contracts.label import Label

T = TypeVar("T")
SCORE_WITHIN_MS, BATCH_WITHIN_MS, OTHER_WITHIN_MS = 100, 1000, 2000
MAX_CONNECTIONS = 100


def terms(retry: Retry | None) -> Terms:
    """Terms with the real clock and random numbers."""
    return Terms(retry or Retry(), time.monotonic, random.random)


def answered(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.content, response.headers.get("retry-after", ""))


def failed(error: httpx.TransportError) -> Answer:
    return Answer(0, f"{type(error).__name__}: {error}".encode())


class Client:
    """A blocking client of one edge; safe to share between threads.

    >>> with Client("http://127.0.0.1:19003") as edge:  # doctest: +SKIP
    ...     edge.score(transaction).decision
    'approve'
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``key``: an API key of the edge; ``transport`` replaces the network in tests."""
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, limits=limits, transport=transport, trust_env=False
        )
        self._terms = terms(retry)

    def score(
        self, transaction: Transaction, within_ms: int = SCORE_WITHIN_MS, trace: str | None = None
    ) -> Decision:
        """Decide one transaction. ``trace``: a W3C traceparent.

        Raises:
            TollgateError: Conflict, Invalid, OverQuota, Unavailable or Unreachable.
        """
        return self._run(calls.score(self._terms, transaction, within_ms, trace))

    def score_batch(
        self, transactions: Sequence[Transaction], within_ms: int = BATCH_WITHIN_MS
    ) -> list[Decision | ItemProblem]:
        """Decide up to 1,000 transactions; returns a decision or a problem for each, in order.

        Raises:
            TollgateError: the batch as a whole failed.
        """
        return self._run(calls.score_batch(self._terms, transactions, within_ms))

    def decision(
        self, transaction_id: str, within_ms: int = OTHER_WITHIN_MS, *, tenant: str = DEFAULT_TENANT
    ) -> Decision:
        """The decision of a tenant's transaction. Raises: NotFound, or another TollgateError."""
        return self._run(calls.decision(self._terms, transaction_id, within_ms, tenant))

    def label(self, label: Label, within_ms: int = OTHER_WITHIN_MS) -> None:
        """Send the label of a transaction. Raises: TollgateError."""
        self._run(calls.label(self._terms, label, within_ms))

    def model(self, within_ms: int = OTHER_WITHIN_MS) -> ModelInfo:
        """Raises: TollgateError."""
        return self._run(calls.model(self._terms, within_ms))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = call.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
            else:
                answer = self._send(step)

    def _send(self, step: Send) -> Answer:
        try:
            return answered(
                self._http.request(
                    step.method,
                    step.path,
                    content=step.body,
                    headers=step.headers,
                    timeout=step.timeout_s,
                )
            )
        except httpx.TransportError as error:
            return failed(error)
