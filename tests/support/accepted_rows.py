"""Accepted transactions made by hand, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.transaction import transaction_columns
from streams.processor.intake import Accepted, AcceptedRow


def accepted_of(rows: Sequence[AcceptedRow]) -> Accepted:
    """Rows as the columns that a chunk gives."""
    transactions = [row.transaction for row in rows]
    decided, traces = [row.decided for row in rows], [row.trace for row in rows]
    return Accepted(
        transactions, transaction_columns(transactions), np.array([row.event_ms for row in rows], dtype=np.int64),
        [row.partition for row in rows], [row.offset for row in rows], [row.appended_ms for row in rows],
        [row.deadline_ms for row in rows], decided if any(decided) else None, traces if any(traces) else None,
    )  # fmt: skip
