"""Parses and checks transactions (fields, event time, quota) and turns them into entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from features.transaction import MAX_AHEAD_MS, Transaction, epoch_ms
from services.scoring.edge.entries import Entry, entries_of
from services.scoring.edge.limits import Limits, Quotas
from services.scoring.edge.problems import Problem, invalid
from services.scoring.edge.tenants import of_caller
from streams.access.api_keys import ApiKey
from streams.contracts.invalid_event import InvalidEvent, check_not_ahead
from streams.contracts.tenants import Tenants
from streams.contracts.transaction_parsing import (
    admitted,
    parse_together,
    parse_transaction,
    to_admit,
    unknown_fields,
)
from streams.runtime.metrics import UNDECLARED_ATTRIBUTES, UNKNOWN_FIELDS


class Intake:
    """Parsing, checks and quotas for one event loop."""

    def __init__(self, limits: Limits, tenants: Tenants) -> None:
        """``tenants``: whose transactions are taken."""
        self._tenants = tenants
        self._quotas = Quotas("tenant", limits.tenant_rate, limits.burst_s)
        self._key_quotas = Quotas("API key", limits.tenant_rate, limits.burst_s)

    def one(
        self,
        raw: bytes,
        received_ms: float,
        deadline_ms: int,
        trace: str | None = None,
        caller: ApiKey | None = None,
    ) -> Entry:
        """Parse one transaction; ``received_ms``: since 1970.

        Raises:
            Problem: 403, 422, 429.
        """
        try:
            sent = of_caller(parse_transaction(raw), raw, caller)
            # only known fields are published, so unknown ones must be counted here; in the processor's order, for one reason on both ways
            unknown = len(unknown_fields(raw, sent))
            transaction, undeclared = admitted(sent, self._tenants)
            event_ms = transaction.event_ms
            check_not_ahead(event_ms, int(received_ms))
        except InvalidEvent as error:
            raise invalid(error) from None
        if not self._take(transaction.tenant, 1, received_ms / 1000, caller):
            raise self._refusal(caller)
        if unknown:
            UNKNOWN_FIELDS.inc(unknown)
        if undeclared:
            UNDECLARED_ATTRIBUTES.inc(undeclared)
        return entries_of([transaction], [event_ms], received_ms, deadline_ms, trace)[0]

    def many(
        self, items: Sequence[bytes], received_ms: float, deadline_ms: int, caller: ApiKey | None = None
    ) -> list[Entry | Problem]:
        """Parse many transactions: an entry or a Problem for each, in order."""
        together = parse_together(items) if items else None
        if together is None or not together.plain:
            return [self._one_or_problem(raw, received_ms, deadline_ms, caller) for raw in items]
        event_ms = [epoch_ms(tx.event_time) for tx in together.transactions]
        if max(event_ms) > received_ms + MAX_AHEAD_MS:
            return [self._one_or_problem(raw, received_ms, deadline_ms, caller) for raw in items]
        try:
            transactions = [
                of_caller(tx, raw, caller) for tx, raw in zip(together.transactions, items, strict=True)
            ]
            undeclared = 0
            for row in to_admit(transactions, self._tenants):
                transactions[row], ignored = admitted(transactions[row], self._tenants)
                undeclared += ignored
        except (Problem, InvalidEvent):
            return [self._one_or_problem(raw, received_ms, deadline_ms, caller) for raw in items]
        if undeclared:
            UNDECLARED_ATTRIBUTES.inc(undeclared)
        entries = entries_of(transactions, event_ms, received_ms, deadline_ms)
        return self._within_quota(transactions, entries, received_ms / 1000, caller)

    def _one_or_problem(
        self, raw: bytes, received_ms: float, deadline_ms: int, caller: ApiKey | None
    ) -> Entry | Problem:
        try:
            return self.one(raw, received_ms, deadline_ms, None, caller)
        except Problem as problem:
            return problem

    def _within_quota(
        self, transactions: Sequence[Transaction], entries: list[Entry], now_s: float, caller: ApiKey | None
    ) -> list[Entry | Problem]:
        wanted = Counter([tx.tenant for tx in transactions])
        left = {tenant: self._take(tenant, count, now_s, caller) for tenant, count in wanted.items()}
        if left == wanted:
            return list(entries)
        out: list[Entry | Problem] = []
        for entry in entries:
            tenant = entry.transaction.tenant
            left[tenant] -= 1
            out.append(entry if left[tenant] >= 0 else self._refusal(caller))
        return out

    def _take(self, tenant: str, count: int, now_s: float, caller: ApiKey | None) -> int:
        """Of ``count`` transactions, how many the rate of their API key allows, without one that of their tenant."""
        if caller is None:
            return self._quotas.take(tenant, count, now_s)
        return self._key_quotas.take(caller.id, count, now_s, caller.per_second)

    def _refusal(self, caller: ApiKey | None) -> Problem:
        return self._quotas.refusal() if caller is None else self._key_quotas.refusal(caller.per_second)
