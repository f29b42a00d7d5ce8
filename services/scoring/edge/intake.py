"""Parses and checks transactions (fields, event time, quota) and turns them into entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from features.transaction import MAX_AHEAD_MS, Transaction, epoch_ms
from services.scoring.edge.entries import Entry, entries_of
from services.scoring.edge.limits import Limits, Quotas
from services.scoring.edge.problems import Problem, invalid
from streams.contracts.invalid_event import InvalidEvent, check_not_ahead
from streams.contracts.tenants import Tenants
from streams.contracts.transaction_parsing import (
    of_known_tenant,
    parse_together,
    parse_transaction,
    unknown_fields,
)
from streams.runtime.metrics import UNKNOWN_FIELDS


class Intake:
    """Parsing, checks and quotas for one event loop."""

    def __init__(self, limits: Limits, tenants: Tenants) -> None:
        """``tenants``: whose transactions are taken."""
        self._tenants = tenants
        self._quotas = Quotas("tenant", limits.tenant_rate, limits.burst_s)

    def one(self, raw: bytes, received_ms: float, deadline_ms: int, trace: str | None = None) -> Entry:
        """Parse one transaction; ``received_ms``: since 1970.

        Raises:
            Problem: 422, 429.
        """
        try:
            transaction = of_known_tenant(parse_transaction(raw), self._tenants)
            event_ms = transaction.event_ms
            check_not_ahead(event_ms, int(received_ms))
            # only known fields are published, so unknown ones must be counted here
            unknown = len(unknown_fields(raw, transaction))
        except InvalidEvent as error:
            raise invalid(error) from None
        self._quotas.spend(transaction.tenant, received_ms / 1000)
        if unknown:
            UNKNOWN_FIELDS.inc(unknown)
        return entries_of([transaction], [event_ms], received_ms, deadline_ms, trace)[0]

    def many(self, items: Sequence[bytes], received_ms: float, deadline_ms: int) -> list[Entry | Problem]:
        """Parse many transactions: an entry or a Problem for each, in order."""
        together = parse_together(items) if items else None
        if together is None or not together.plain:
            return [self._one_or_problem(raw, received_ms, deadline_ms) for raw in items]
        transactions = together.transactions
        if not self._tenants.knows(transactions):
            return [self._one_or_problem(raw, received_ms, deadline_ms) for raw in items]
        event_ms = [epoch_ms(tx.event_time) for tx in transactions]
        if max(event_ms) > received_ms + MAX_AHEAD_MS:
            return [self._one_or_problem(raw, received_ms, deadline_ms) for raw in items]
        entries = entries_of(transactions, event_ms, received_ms, deadline_ms)
        return self._within_quota(transactions, entries, received_ms / 1000)

    def _one_or_problem(self, raw: bytes, received_ms: float, deadline_ms: int) -> Entry | Problem:
        try:
            return self.one(raw, received_ms, deadline_ms)
        except Problem as problem:
            return problem

    def _within_quota(
        self, transactions: Sequence[Transaction], entries: list[Entry], now_s: float
    ) -> list[Entry | Problem]:
        wanted = Counter([tx.tenant for tx in transactions])
        left = {tenant: self._quotas.take(tenant, count, now_s) for tenant, count in wanted.items()}
        if left == wanted:
            return list(entries)
        out: list[Entry | Problem] = []
        for entry in entries:
            tenant = entry.transaction.tenant
            left[tenant] -= 1
            out.append(entry if left[tenant] >= 0 else self._quotas.refusal())
        return out
