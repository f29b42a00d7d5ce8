"""Labels of a simulated run: when they are due, and which of them life takes away.

A declined payment cannot be charged back, so nobody ever says whether it was fraud. A label therefore waits for its transaction's
decision, and that of a declined one is never sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadtest.traffic.simulator.generate import TIMESTAMP


class DueLabels:
    """Labels of a scaled run, returned when the simulated clock passes their time."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table, end_ms: int) -> pa.Table:
        """Remember the labels of a block that become due before ``end_ms``, the end of the run; returns their rows."""
        due = pc.less(table["label_time"].cast(pa.int64()), end_ms)
        labelled = table.filter(pc.fill_null(due, False))
        if labelled.num_rows:
            self._waiting.append(labelled)
        return labelled

    def until(self, clock_ms: int) -> pa.Table | None:
        """Rows whose label is due at ``clock_ms``, each returned once."""
        if not self._waiting:
            return None
        table = pa.concat_tables(self._waiting)
        due = pc.less_equal(table["label_time"].cast(pa.int64()), clock_ms)
        given, rest = table.filter(due), table.filter(pc.invert(due))
        self._waiting = [rest] if rest.num_rows else []
        return given if given.num_rows else None


class AgedLabels:
    """Labels of a live run, returned a fixed time after their transactions were sent."""

    def __init__(self, after_s: float) -> None:
        self._after_ms = int(after_s * 1000)
        #: the labelled rows of the current block, and their positions in it
        self._labelled, self._places = pa.table({}), np.empty(0, np.int64)
        #: (labelled rows, when they were sent), oldest first
        self._sent: deque[tuple[pa.Table, int]] = deque()

    def add(self, table: pa.Table) -> pa.Table:
        """Set the block whose rows are sent next; returns its labelled rows."""
        labelled = pc.is_valid(table["label"])
        self._places = np.flatnonzero(labelled.to_numpy())
        self._labelled = table.filter(labelled)
        return self._labelled

    def sent(self, begin: int, end: int, now_ms: int) -> None:
        """Rows [begin, end) of the block were sent, with ``now_ms`` as their event time."""
        first, last = np.searchsorted(self._places, (begin, end))
        if last > first:
            self._sent.append((self._labelled.slice(first, last - first), now_ms))

    def until(self, clock_ms: int) -> pa.Table | None:
        """Rows whose label is due at ``clock_ms``, each returned once, with the time of sending as event time and
        ``clock_ms`` as label time.
        """
        given, sent_ms = [], []
        while self._sent and self._sent[0][1] + self._after_ms <= clock_ms:
            rows, at_ms = self._sent.popleft()
            given.append(rows)
            sent_ms.append(np.full(len(rows), at_ms))
        if not given:
            return None
        table = pa.concat_tables(given)
        for name, ms in (
            ("event_time", np.concatenate(sent_ms)),
            ("label_time", np.full(len(table), clock_ms)),
        ):
            table = table.set_column(table.column_names.index(name), name, pa.array(ms).cast(TIMESTAMP))
        return table


class LabelsOfDecided:
    """Gives due labels whose transaction was decided, in the order in which they became due; drops those of declined ones."""

    def __init__(self) -> None:
        self._expected: set[str] = set()
        self._declined: dict[str, bool] = {}
        self._due: list[pa.Table] = []

    @property
    def waiting(self) -> int:
        """Due labels whose transaction is not decided yet."""
        return sum(table.num_rows for table in self._due)

    def expect(self, labelled: pa.Table) -> None:
        """Rows that are about to be sent and have a label."""
        self._expected.update(labelled["transaction_id"].to_pylist())

    def decided(self, declined: Mapping[str, bool]) -> None:
        """Transactions that were decided: whether each was declined. Those without a label are ignored."""
        for name in self._expected & declined.keys():
            self._declined[name] = declined[name]
        self._expected.difference_update(declined)

    def release(self, due: pa.Table | None) -> pa.Table | None:
        """The labels that can be sent now, after ``due`` became due; None if there are none."""
        tables = [*self._due, *([due] if due is not None else [])]
        if not tables:
            return None
        table = pa.concat_tables(tables)
        names = table["transaction_id"].to_pylist()
        known = pa.array([name in self._declined for name in names])
        given = table.filter(pa.array([self._declined.get(name) is False for name in names]))
        rest = table.filter(pc.invert(known))
        for name, done in zip(names, known.to_pylist(), strict=True):
            if done:
                del self._declined[name]
        self._due = [rest] if rest.num_rows else []
        return given if given.num_rows else None
