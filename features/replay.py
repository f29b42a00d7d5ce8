"""Features over history: a table in, the matrix out, by the kernels that serve. No Kafka, no Redis, no clock.

Training, backfill and evaluation all come through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.card_kernel import card_features
from features.catalogue import WIDTH
from features.columns import CHANNELS, NAN, Columns, country_code, mcc_number, text_hash
from features.entity_kernel import apply_items, entity_features
from features.profiles import CARD, ENTITY, card_state, entity_state, new_arena

#: rows that see the entities' state as of their common start, as one chunk of the stream does
BATCH = 256


def replay(
    history: pa.Table, *, batch: int = BATCH, progress: Callable[[int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the features of every row of a history table, in its order.

    Args:
        history: transactions in order of arrival, with ``label`` and ``label_time`` (see decision 1). A label moves
            features only of rows whose event time is not before its ``label_time``.
        progress: called with the number of rows done, now and then.

    Returns:
        float32 (rows, WIDTH), catalogue order, NaN where unknown; rows seen before (same card, id, time and amount) are NaN.
    """
    n = history.num_rows
    columns = columns_of_table(history)
    card_slots, card_names = _codes(history["card_id"])
    cards = card_state(new_arena(CARD, max(1, len(card_names))))
    entity_slots, entity_count = _entity_slots(history, card_slots, len(card_names))
    entities = entity_state(new_arena(ENTITY, max(1, entity_count)))
    card_hash = (
        np.array([text_hash(name) for name in card_names], dtype=np.uint32)[card_slots]
        if n
        else np.empty(0, np.uint32)
    )
    labels = _Labels(history, columns.event_ms)
    out = np.full((n, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(n, dtype=np.uint8)
    for start in range(0, n, batch):
        end = min(start + batch, n)
        part = Columns._make(column[start:end] for column in columns)
        labels.apply_until(int(part.event_ms.max()), entity_slots, entities)
        card_features(part, card_slots[start:end], cards, True, out[start:end], seen[start:end])
        entity_features(part.event_ms, entity_slots[start:end], entities, out[start:end])
        _apply_transactions(part, entity_slots[start:end], card_hash[start:end], seen[start:end], entities)
        if progress is not None and (start // batch) % 64 == 0:
            progress(end)
    out[seen != 0] = np.nan
    return out


def columns_of_table(history: pa.Table) -> Columns:
    """The kernel's columns of a history table."""
    n = history.num_rows
    return Columns(
        _event_ms(history["event_time"]),
        np.full(n, -1, dtype=np.int64),
        _numbers(history, "amount_minor", np.int64, 0),
        _hashed(history["transaction_id"]),
        _hashed(history["merchant_id"]),
        _mapped(history, "device_id", lambda v: text_hash(v) if v else 0, np.uint32, 0),
        _mapped(history, "country", country_code, np.uint16, 0),
        _numbers(history, "latitude", np.float64, NAN),
        _numbers(history, "longitude", np.float64, NAN),
        _mapped(history, "channel", lambda v: CHANNELS.get(v, NAN), np.float32, NAN),
        _mapped(history, "mcc", mcc_number, np.float32, NAN),
    )


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

    def apply_until(self, now_ms: int, entity_slots: npt.NDArray[np.int64], entities: Any) -> None:
        until = int(np.searchsorted(self.known_ms, now_ms, side="right"))
        if until == self.done:
            return
        rows = self.rows[self.done : until]
        self.done = until
        for kind in range(5):
            slots = entity_slots[rows, kind]
            some = slots >= 0
            n = int(some.sum())
            zeros = np.zeros(n, dtype=np.int64)
            apply_items(
                slots[some], zeros - 1, np.ones(n, dtype=np.bool_), self.event_ms[rows][some], zeros,
                zeros.astype(np.uint32), zeros + 1, entities,
            )  # fmt: skip


def _apply_transactions(
    part: Columns,
    slots: npt.NDArray[np.int64],
    card_hash: npt.NDArray[np.uint32],
    seen: npt.NDArray[np.uint8],
    entities: Any,
) -> None:
    for kind in range(4):
        some = (slots[:, kind] >= 0) & (seen == 0)
        n = int(some.sum())
        if n == 0:
            continue
        apply_items(
            slots[some, kind], np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.bool_), part.event_ms[some],
            part.amount[some], card_hash[some], np.zeros(n, dtype=np.int64), entities,
        )  # fmt: skip


def _entity_slots(
    history: pa.Table, card_slots: npt.NDArray[np.int64], cards: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Slots (n, 5) of merchant, device, ip, customer and card fraud history in one arena; -1 where absent."""
    slots = np.full((history.num_rows, 5), -1, dtype=np.int64)
    used = 0
    for kind, name in enumerate(("merchant_id", "device_id", "ip", "customer_id")):
        if name not in history.column_names or history[name].null_count == history.num_rows:
            continue
        codes, names = _codes(history[name])
        slots[:, kind] = np.where(codes >= 0, codes + used, -1)
        used += len(names)
    slots[:, 4] = card_slots + used
    return slots, used + cards


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
