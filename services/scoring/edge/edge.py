"""The HTTP edge without HTTP: takes transactions and labels, publishes each once, and gives the same decision for the same id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import hiredis

from features.identity import identity_of
from features.store.redis_client import StoreUnavailable
from services.scoring.arms.shadow import Shadow
from services.scoring.decision.exploring import explorer_of
from services.scoring.edge.admission import Gate, GateRules
from services.scoring.edge.callers import Callers
from services.scoring.edge.calls import Answer, Call, SingleCall
from services.scoring.edge.entries import Entry
from services.scoring.edge.idempotency.lookup import find_decision
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits, Quotas
from services.scoring.edge.problems import Problem, invalid, overloaded, unavailable
from services.scoring.edge.protocols import BROKER_WITHIN_S, LOOKUP_WITHIN_S, Model, Store
from services.scoring.edge.publishing.publisher import Publishing, QueueFull
from services.scoring.edge.rounds import Rounds
from services.scoring.edge.tenants import of_caller
from streams.access.api_keys import ApiKey
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import check_known_by, of_known_tenant, parse_label
from streams.contracts.text.json_encoding import encode
from streams.log.seal import Keys
from streams.log.topics import LABELS
from streams.runtime.settings import Settings

LABEL_WITHIN_S = 2.0
#: limit of batch transactions in flight: at the start, and its lower bound
FIRST_BATCH_ROWS, MIN_BATCH_ROWS = 2000.0, 1000.0


class Edge:
    """Decides single transactions and batches for one event loop."""

    def __init__(
        self,
        settings: Settings,
        model: Model,
        store: Store,
        publisher: Publishing,
        limits: Limits,
        keys: Keys,
        clock: Callable[[], float] = time.time,
        bulk: Store | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        """``keys``: the newest one seals decisions; ``clock`` gives seconds since 1970; ``bulk``: a second connection to the
        store, for large reads; ``shadow``: scores with the challenger beside the champion.
        """
        self.settings = settings
        self.limits = limits
        self.model = model
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._asked: asyncio.Future[bool] | None = None
        self._intake = Intake(limits, settings.known_tenants)
        self._label_quotas = Quotas("source", limits.label_rate, limits.burst_s)
        self.callers = Callers(settings, clock)
        # a batch takes much longer than a single: each kind has its own gate
        self._singles = Gate(GateRules(most=limits.in_flight))
        self._batches = Gate(GateRules(first=FIRST_BATCH_ROWS, least=MIN_BATCH_ROWS, most=limits.in_flight))
        self._rounds = Rounds(
            model,
            store,
            publisher,
            clock,
            settings.partitions,
            keys,
            bulk,
            shadow,
            explorer_of(settings, clock()),
        )

    def begin(
        self, raw: bytes, deadline_ms: int, trace: str | None = None, caller: ApiKey | None = None
    ) -> asyncio.Future[bytes]:
        """Start one transaction; the future gives its decision as JSON, or raises Problem.

        Raises:
            Problem: 403, 422, 429 or 503, refused at once; see design section 2.
        """
        received_s = self._clock()
        self._enter(self._singles, 1)
        try:
            entry = self._intake.one(raw, received_s * 1000, deadline_ms, trace, caller)
        except Problem:
            # refused input says nothing about latency
            self._singles.give_back(1)
            raise
        call = SingleCall()
        self._rounds.submit([entry], [0], call, self._left_s(received_s * 1000, deadline_ms))
        call.future.add_done_callback(partial(self._left, self._singles, 1, received_s, deadline_ms))
        return call.future

    async def score_batch(
        self, items: Sequence[bytes], deadline_ms: int, caller: ApiKey | None = None
    ) -> list[Answer]:
        """Decide many transactions independently: each item's decision as JSON, or its Problem, in order.

        Raises:
            Problem: 503, too much is in flight.
        """
        received_s = self._clock()
        self._enter(self._batches, len(items))
        try:
            call = Call(len(items))
            parsed = self._intake.many(items, received_s * 1000, deadline_ms, caller)
            places = [place for place, item in enumerate(parsed) if isinstance(item, Entry)]
            entries = [item for item in parsed if isinstance(item, Entry)]
            for place, item in enumerate(parsed):
                if isinstance(item, Problem):
                    call.put(place, item)
            self._rounds.submit(entries, places, call, self._left_s(received_s * 1000, deadline_ms))
            answers: list[Answer] = await call.future
            return answers
        finally:
            self._left(self._batches, len(items), received_s, deadline_ms)

    def _enter(self, gate: Gate, items: int) -> None:
        if not gate.enter(items):
            raise overloaded(gate.in_flight)

    def _left(self, gate: Gate, items: int, received_s: float, deadline_ms: int, _: object = None) -> None:
        now_s = self._clock()
        gate.leave(items, now_s - received_s, deadline_ms / 1000, now_s)

    def _left_s(self, started_ms: float, deadline_ms: int) -> float:
        return (deadline_ms + started_ms) / 1000 - self._clock()

    async def find(self, tenant: str, transaction_id: str) -> bytes | None:
        """The decision of a tenant's transaction as JSON; None when none is known.

        Raises:
            Problem: 503, the store cannot be reached.
        """
        return await find_decision(self._store, identity_of(tenant, transaction_id))

    async def label(self, raw: bytes, caller: ApiKey | None = None) -> None:
        """Publish one label; returns when the broker has acknowledged it.

        Raises:
            Problem: 403; 422; 429, its source exceeds its rate; or 503 when the broker does not acknowledge.
        """
        try:
            label = of_known_tenant(of_caller(parse_label(raw), raw, caller), self.settings.known_tenants)
            check_known_by(label, int(self._clock() * 1000))
        except InvalidEvent as error:
            raise invalid(error) from None
        self._label_quotas.spend(label.source, self._clock())
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: str | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(
                        unavailable("unacknowledged", f"the broker did not acknowledge the label: {error}")
                    )

        try:
            self._publisher.publish(LABELS.name, label.card_id, encode(label), [], done)
            async with asyncio.timeout(LABEL_WITHIN_S):
                await future
        except QueueFull as error:
            raise unavailable("broker", str(error)) from error
        except TimeoutError:
            raise unavailable(
                "unacknowledged", "the label was not acknowledged in time; send it again"
            ) from None

    async def not_ready(self) -> str | None:
        """Why this replica should get no traffic; None when it is ready."""
        if self.model.serving.champion is None:
            return self.model.problem
        try:
            reply = (await self._store.call([("PING",)], LOOKUP_WITHIN_S))[0]
        except StoreUnavailable as error:
            return str(error)
        if isinstance(reply, hiredis.ReplyError):
            return str(reply)
        # one question at a time: while the broker is away, each holds a thread until it gives up
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(asyncio.to_thread(self._publisher.answered, BROKER_WITHIN_S))
        return None if await asyncio.shield(self._asked) else "the broker does not answer"
