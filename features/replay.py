"""Features over history: a table in, the matrix out, by the kernels that serve. No Kafka, no Redis, no clock.

Training, backfill and evaluation all come through here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import WIDTH
from features.columns import (
    CHANNELS,
    NAN,
    PAYMENT,
    Payments,
    country_code,
    currency_number,
    mcc_number,
    text_hash,
)
from features.engine import Places, Profiles, fill_features
from features.holder_kernel import DUPLICATE, NEW, POSSIBLE, apply_payments
from features.meeting_kernel import LABEL, PAID, apply_frauds, apply_items
from features.profiles import (
    FRAUDS,
    HOLDER,
    MEETING,
    new_arena,
)

#: rows that see the entities' state as of their common start, as one chunk of the stream does
BATCH = 256


def replay(
    history: pa.Table, *, batch: int = BATCH, progress: Callable[[int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the features of every row of a history table, in its order.

    Args:
        history: transactions in order of arrival, with ``label`` and ``label_time`` (see decision 1). A row sees the labels
            that were known when it came: with a ``label_time`` not after its event time or, for a row that came late, not
            after the newest event time that had come before it (decision 5).
        progress: called with the number of rows done, now and then.

    Returns:
        float32 (rows, WIDTH), catalogue order, NaN where unknown; rows seen before (same card, id, time and amount) are NaN.
        What is like an old payment of its card in time and amount is one of these if its id came before.
    """
    n = history.num_rows
    columns = columns_of_table(history)
    state = _State(history)
    labels = _Labels(history, columns["event_ms"])
    clock_ms = np.maximum.accumulate(columns["event_ms"])
    out = np.full((n, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(n, dtype=np.uint8)
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        part = columns[rows]
        # labels alone cut a batch: were payments counted at a cut, a label's time would show in features without labels
        for first, end in pairwise([*labels.cuts(clock_ms[rows]), rows.stop - start]):
            labels.apply_until(int(clock_ms[start + first]), state)
            piece = slice(start + first, start + end)
            state.features(columns[piece], piece, out[piece], seen[piece])
        state.paid(part, rows, seen[rows])
        if progress is not None and (start // batch) % 64 == 0:
            progress(rows.stop)
    out[seen == DUPLICATE] = np.nan
    likenesses = np.flatnonzero(seen == POSSIBLE)
    if len(likenesses):
        ids, _ = _codes(history["transaction_id"])
        _, first = np.unique(ids, return_index=True)
        out[np.setdiff1d(likenesses, first)] = np.nan
    return out


class _State:
    """The profiles of a whole history, and which row uses which; -1 where an id is absent."""

    def __init__(self, history: pa.Table) -> None:
        n = history.num_rows
        self.card_slots, names = _codes(history["card_id"])
        self.customer_slots, customers = _codes_or_none(history, "customer_id")
        self.meeting_slots = np.full((n, 3), -1, dtype=np.int64)
        used = 0
        for kind, name in enumerate(("merchant_id", "device_id", "ip")):
            codes, found = _codes_or_none(history, name)
            self.meeting_slots[:, kind] = np.where(codes >= 0, codes + used, -1)
            used += len(found)
        owners = np.where(self.customer_slots >= 0, self.customer_slots + len(names), -1)
        self.fraud_slots = np.column_stack([self.card_slots, owners])
        hashes = np.array([text_hash(name) for name in names], dtype=np.uint32)
        self.card_hashes = hashes[self.card_slots] if n else np.empty(0, np.uint32)
        self.cards = new_arena(HOLDER, len(names))
        self.customers = new_arena(HOLDER, len(customers))
        self.meetings = new_arena(MEETING, used)
        self.frauds = new_arena(FRAUDS, len(names) + len(customers))

    def features(self, part: Payments, rows: slice, out: Any, seen: Any) -> None:
        """Features of some rows as of their start; cards count them one after the other."""
        places = Places(
            self.card_slots[rows], self.customer_slots[rows], self.meeting_slots[rows], self.fraud_slots[rows]
        )
        profiles = Profiles(self.cards, self.customers, self.meetings, self.frauds)
        fill_features(part, places, profiles, out, seen, apply=True)

    def paid(self, part: Payments, rows: slice, seen: Any) -> None:
        """Count some rows for their customers and meeting places."""
        customers, meetings = self.customer_slots[rows], self.meeting_slots[rows]
        fresh = seen == NEW
        apply_payments(part, np.where(fresh, customers, -1), self.customers)
        for kind in range(3):
            some = (meetings[:, kind] >= 0) & fresh
            n = int(some.sum())
            if n:
                apply_items(
                    meetings[some, kind], np.full(n, -1), np.full(n, PAID), part["event_ms"][some],
                    part["amount"][some], self.card_hashes[rows][some], np.zeros(n, np.int64), self.meetings,
                )  # fmt: skip

    def frauds_known(self, rows: npt.NDArray[np.int64], event_ms: npt.NDArray[np.int64]) -> None:
        """Count rows as frauds of everybody who took part in them."""
        for slots in self.meeting_slots[rows].T:
            some = slots >= 0
            n = int(some.sum())
            apply_items(
                slots[some], np.full(n, -1), np.full(n, LABEL), event_ms[some], np.zeros(n, np.int64),
                np.zeros(n, np.uint32), np.ones(n, np.int64), self.meetings,
            )  # fmt: skip
        for slots in self.fraud_slots[rows].T:
            some = slots >= 0
            n = int(some.sum())
            apply_frauds(
                slots[some],
                np.full(n, -1),
                np.full(n, LABEL),
                event_ms[some],
                np.ones(n, np.int64),
                self.frauds,
            )


def columns_of_table(history: pa.Table) -> Payments:
    """The kernel's columns of a history table."""
    out = np.zeros(history.num_rows, dtype=PAYMENT)
    out["event_ms"] = _event_ms(history["event_time"])
    out["offset"] = -1
    out["amount"] = _numbers(history, "amount_minor", np.int64, 0)
    out["id_hash"] = _hashed(history["transaction_id"])
    out["merchant_hash"] = _hashed(history["merchant_id"])
    out["device_hash"] = _mapped(history, "device_id", lambda v: text_hash(v) if v else 0, np.uint32, 0)
    out["country"] = _mapped(history, "country", country_code, np.uint16, 0)
    out["latitude"] = _numbers(history, "latitude", np.float64, NAN)
    out["longitude"] = _numbers(history, "longitude", np.float64, NAN)
    out["channel"] = _mapped(history, "channel", lambda v: CHANNELS.get(v, NAN), np.float32, NAN)
    out["mcc"] = _mapped(history, "mcc", mcc_number, np.float32, NAN)
    out["currency"] = _mapped(history, "currency", currency_number, np.float32, NAN)
    return out


class _Labels:
    """Labels in the order in which they become known; applied as the replay's clock passes them."""

    def __init__(self, history: pa.Table, event_ms: npt.NDArray[np.int64]) -> None:
        if "label" not in history.column_names:
            self.rows = np.empty(0, dtype=np.int64)
            self.known_ms = np.empty(0, dtype=np.int64)
        else:
            fraud = pc.fill_null(pc.equal(history["label"], "fraud"), False).to_numpy(zero_copy_only=False)
            known = history["label_time"].is_valid().to_numpy(zero_copy_only=False)
            rows = np.nonzero(fraud & known)[0]
            known_ms = _event_ms(history["label_time"])[rows]
            order = np.argsort(known_ms, kind="stable")
            self.rows, self.known_ms = rows[order], known_ms[order]
        self.event_ms = event_ms
        self.done = 0

    def cuts(self, clock_ms: npt.NDArray[np.int64]) -> list[int]:
        """Of a batch's clock, ascending: its first row, and each from which on more labels are known than before it."""
        until = int(np.searchsorted(self.known_ms, clock_ms[-1], side="right"))
        if until == self.done:
            return [0]
        found = np.searchsorted(clock_ms, self.known_ms[self.done : until], side="left")
        return [0, *np.unique(found[found > 0]).tolist()]

    def apply_until(self, now_ms: int, state: _State) -> None:
        until = int(np.searchsorted(self.known_ms, now_ms, side="right"))
        if until > self.done:
            rows = self.rows[self.done : until]
            self.done = until
            state.frauds_known(rows, self.event_ms[rows])


def _codes_or_none(history: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    if name not in history.column_names or history[name].null_count == history.num_rows:
        return np.full(history.num_rows, -1, dtype=np.int64), []
    return _codes(history[name])


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _event_ms(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    cast = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
    return np.ascontiguousarray(cast.fill_null(0).to_numpy(), dtype=np.int64)


def _hashed(column: pa.ChunkedArray) -> npt.NDArray[np.uint32]:
    codes, names = _codes(column)
    if not names:
        return np.zeros(len(codes), dtype=np.uint32)
    return np.array([text_hash(name) for name in names], dtype=np.uint32)[codes]


def _numbers(history: pa.Table, name: str, dtype: Any, absent: float) -> Any:
    if name not in history.column_names:
        return np.full(history.num_rows, absent, dtype=dtype)
    return np.ascontiguousarray(
        pc.fill_null(history[name].cast(pa.from_numpy_dtype(dtype)), absent).to_numpy(), dtype=dtype
    )


def _mapped(history: pa.Table, name: str, function: Callable[[Any], float], dtype: Any, absent: float) -> Any:
    if name not in history.column_names:
        return np.full(history.num_rows, absent, dtype=dtype)
    codes, names = _codes(history[name])
    values = np.array([*(function(value) for value in names), absent], dtype=dtype)
    return values[codes]
