"""The asyncio client: the same calls as ``Client``, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

import httpx

from features.identity import DEFAULT_TENANT
from features.transaction import Transaction
from models.decision import Decision
from services.client import calls
from services.client.answers import ItemProblem, ModelInfo
from services.client.calls import Answer, Call, Pause, Send
from services.client.client import (
    BATCH_WITHIN_MS,
    MAX_CONNECTIONS,
    OTHER_WITHIN_MS,
    SCORE_WITHIN_MS,
    answered,
    failed,
    terms,
)
from services.client.retries import Retry
from streams.contracts.label import Label

T = TypeVar("T")


class AsyncClient:
    """``services.client.client.Client`` for one event loop; see there for the methods' contracts."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``key``: an API key of the edge; ``transport`` replaces the network in tests."""
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, limits=limits, transport=transport, trust_env=False
        )
        self._terms = terms(retry)

    async def score(
        self, transaction: Transaction, within_ms: int = SCORE_WITHIN_MS, trace: str | None = None
    ) -> Decision:
        """Decide one transaction. Raises: TollgateError."""
        return await self._run(calls.score(self._terms, transaction, within_ms, trace))

    async def score_batch(
        self, transactions: Sequence[Transaction], within_ms: int = BATCH_WITHIN_MS
    ) -> list[Decision | ItemProblem]:
        """Decide up to 1,000 transactions, in order. Raises: TollgateError."""
        return await self._run(calls.score_batch(self._terms, transactions, within_ms))

    async def decision(
        self, transaction_id: str, within_ms: int = OTHER_WITHIN_MS, *, tenant: str = DEFAULT_TENANT
    ) -> Decision:
        """The decision of a tenant's transaction. Raises: NotFound, or another TollgateError."""
        return await self._run(calls.decision(self._terms, transaction_id, within_ms, tenant))

    async def label(self, label: Label, within_ms: int = OTHER_WITHIN_MS) -> None:
        """Raises: TollgateError."""
        await self._run(calls.label(self._terms, label, within_ms))

    async def model(self, within_ms: int = OTHER_WITHIN_MS) -> ModelInfo:
        """Raises: TollgateError."""
        return await self._run(calls.model(self._terms, within_ms))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = call.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                answer = await self._send(step)

    async def _send(self, step: Send) -> Answer:
        try:
            return answered(
                await self._http.request(
                    step.method,
                    step.path,
                    content=step.body,
                    headers=step.headers,
                    timeout=step.timeout_s,
                )
            )
        except httpx.TransportError as error:
            return failed(error)
