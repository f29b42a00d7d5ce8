"""Which transactions of a run were decided before it began: known to the decision index, and so never decided again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from features.store.redis_client import RespClient, StoreUnavailable
from streams.audit import Accounts, LedgerUnreachable, Span, end_of, read_span
from streams.log import topics
from streams.log.decision_index import entries_in, lookups

#: identities asked for at once
ASK = 500


class Repeats:
    """Asked while nothing arrives: reads the run's transactions from the log again, as far as they are undecided, and asks the index."""

    def __init__(
        self,
        bootstrap: str,
        redis_address: str | None,
        start: Span,
        accounts: Accounts,
        mine: Callable[[Any], bool],
    ) -> None:
        """``redis_address``: None where there is no index, as in the other systems that are measured beside this one."""
        self._bootstrap = bootstrap
        self._client = RespClient(redis_address) if redis_address else None
        self._accounts = accounts
        self._mine = mine
        self._read: Span = {topics.TRANSACTIONS.name: dict(start[topics.TRANSACTIONS.name])}
        #: identities that were undecided when they were read, by their hash; False once the index knew them
        self._open: dict[int, str] = {}
        #: hashes of identities that were decided before
        self._found: set[int] = set()

    def look(self) -> int:
        """Ask, and ``count``. Without store or broker nothing is learned."""
        if self._client is not None:
            with contextlib.suppress(StoreUnavailable, LedgerUnreachable):
                self._ask(set(self._accounts.undecided().tolist()), self._client)
        return self.count()

    def count(self) -> int:
        """How many of the transactions in flight were decided before, as far as is known."""
        found = np.fromiter(self._found, np.int64, len(self._found))
        return int(np.isin(self._accounts.undecided(), found).sum()) if len(found) else 0

    def _ask(self, wanted: set[int], client: RespClient) -> None:
        end = end_of(self._bootstrap, [topics.TRANSACTIONS.name])
        read_span(self._bootstrap, self._read, end, lambda records: self._keep(records, wanted))
        self._read = end
        self._open = {
            key: name for key, name in self._open.items() if key in wanted and key not in self._found
        }
        open_ = list(self._open.items())
        for begin in range(0, len(open_), ASK):
            part = open_[begin : begin + ASK]
            now_s = time.time()
            replies: list[Any] = client.call([lookups([name for _, name in part], now_s)])
            known = entries_in(replies, now_s)
            self._found.update(key for (key, _), entry in zip(part, known, strict=True) if entry is not None)

    def _keep(self, records: list[Any], wanted: set[int]) -> None:
        for record in records:
            if self._mine(record):
                name = self._accounts.identity(record.value())
                if name is not None and hash(name) in wanted:
                    self._open[hash(name)] = name
