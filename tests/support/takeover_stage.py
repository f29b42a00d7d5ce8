"""The little world, in which workers of two versions of the state take over from each other."""

from __future__ import annotations

from collections import Counter

import pytest

from features.store.keys import GROUP
from features.store.partition_lease import Leases
from streams.processor import takeover
from tests.support.parity_world import PARTITIONS, Worker
from tests.support.stage import Stage
from tests.support.two_state_versions import Mirror, prepare, reading

PLACES = [(topic, p) for topic in ("transactions", "entities") for p in range(PARTITIONS)]


class TwoVersions(Stage):
    """The little world, whose worker is replaced by one of the other version now and then."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        super().__init__(seed)
        self.stores = {1: self.redis, 2: Mirror(self.redis)}
        self.version = 1
        self.crashes = True
        patch.setattr(takeover, "read_span", reading(self.log))
        patch.setattr(
            takeover,
            "whole_log",
            lambda _, topics: ({t: dict.fromkeys(range(PARTITIONS), 0) for t in topics}, {}),
        )

    def chunk(self, crash: bool | None = None) -> None:
        super().chunk(crash if self.crashes else False)

    def switch(self) -> None:
        """A worker of the other version; the one before may be anywhere in its work."""
        self.version = 3 - self.version
        self.redis = self.stores[self.version]
        self.worker = Worker(self.log, self.redis)

    def prepare(self) -> None:
        """The other version's state made from the log, as far as the one at work is, by the builders of rebuilds."""
        store, done = self.stores[3 - self.version], Leases(self.redis, GROUP).stored(PLACES)  # type: ignore[arg-type]
        if any(Leases(store, GROUP).stored(PLACES).values()):  # type: ignore[arg-type]
            return
        prepare(store, self.log, {place: end or 0 for place, end in done.items()})

    def run_with_switches(self, steps: int) -> None:
        actions = [self.send, self.send, self.chunk, self.chunk, self.chunk, self.label]
        for _ in range(steps):
            self.random.choice(actions)()
            if self.random.random() < 0.1:
                self.prepare()
            if self.random.random() < 0.1:
                self.switch()
        self.run(0)

    def counted(self) -> Counter[str]:
        """How often each transaction's features count, by scoring's rule: nothing at or below the last source offset."""
        last: dict[int, int] = {}
        found: Counter[str] = Counter()
        for made in self.made():
            if made.offset > last.get(made.partition, -1):
                last[made.partition] = made.offset
                found[made.transaction.transaction_id] += 1
        return found
