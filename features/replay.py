"""Features of a history: a table in, a matrix out, computed by the serving kernels. No Kafka, Redis or clock.

Training, backfill and evaluation all use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import WIDTH
from features.engine import Places, Profiles, fill_features
from features.identity_column import identity_column
from features.kernels.columns import (
    CHANNEL_NUMBERS,
    NAN,
    PAYMENT,
    Payments,
    country_code,
    currency_number,
    mcc_number,
    text_hash,
)
from features.kernels.payer import DUPLICATE, NEW, POSSIBLE, apply_payments
from features.kernels.shared_entity import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.profile.records import (
    FRAUDS,
    PAYER,
    SHARED_ENTITY,
    new_arena,
)

#: rows that see the entities' state at the start of their batch, as in a chunk of the stream
BATCH = 256


def replay(
    history: pa.Table,
    *,
    labels: pa.Table | None = None,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Compute the features of every row of a history table, in its order.

    A row sees what was known when it arrived: labels whose ``label_time`` is before its clock, and declines with a ``decided_at``
    up to its clock. The clock is the newest ``arrival_time`` so far or, in a history without that column, the newest event time;
    so a late row sees what was known when it arrived (decision 5). No row sees its own label, whatever its ``label_time`` says.

    With ``batch`` 1 the result equals, to the bit, what is served if everything earlier has been applied. It differs by design

    - with larger batches: customers, merchants, devices and addresses are read as of the batch's start, as in a chunk of the
      stream; a row's own card, labels and declines are as of the row;
    - from serving under load, where payments, labels and declines take time from one stage to the next; each decision's record
      says what it saw (``tollgate parity``);
    - from records whose entities were not read in time (``degraded``): here nothing is missing;
    - for labels of transactions that are not in the history: here their entities are unknown.

    Args:
        history: transactions in order of arrival, with ``label`` and ``label_time`` (decision 1). Optional: ``decision`` and
            ``decided_at``, so that declines count from then on, and ``arrival_time``, when the row arrived.
        labels: all labels in order of arrival, used instead of the history's own columns: ``transaction_id``, ``label`` and
            ``label_time``, here the time of arrival, and ``tenant`` where there are several. A label counts from then on, a correction
            from its own time on.
        progress: called with the number of rows done, from time to time.

    Returns:
        float32 (rows, WIDTH), catalogue order, NaN where unknown. Repeated rows (same card, id, time and amount) are all NaN;
        a row that is like an old payment of its card in time and amount is one if its id occurred before.
    """
    going = Replay(history, batch)
    going.learn_history(labels)
    return going.until(history.num_rows, progress)


class Replay:
    """A replay in steps, for a history whose labels and declines follow from what is decided on the way.

    ``clock_ms``: of each row (see ``replay``).
    """

    def __init__(self, history: pa.Table, batch: int = BATCH) -> None:
        self._batch, self._history = batch, history
        self._columns = columns_of_table(history)
        self._state = _State(history)
        event_ms = self._columns["event_ms"]
        came_ms = _event_ms(history["arrival_time"]) if "arrival_time" in history.column_names else event_ms
        self.clock_ms: npt.NDArray[np.int64] = np.maximum.accumulate(came_ms)
        self._seen = np.zeros(history.num_rows, dtype=np.uint8)
        self._news = _News(event_ms)
        self._done = 0

    def frauds(self, rows: npt.NDArray[np.int64], known_ms: npt.NDArray[np.int64]) -> None:
        """Rows that are known to be fraud from ``known_ms`` on, or from the next step on."""
        self._news.add([_news(rows, known_ms, LABEL, 1)])

    def declines(self, rows: npt.NDArray[np.int64], known_ms: npt.NDArray[np.int64]) -> None:
        """Rows that were declined at ``known_ms``; their cards know it from then on, or from the next step on."""
        self._news.add([_news(rows, known_ms, DECLINED)])

    def learn_history(self, labels: pa.Table | None = None) -> None:
        """The declines and labels of the whole history, or ``labels`` in place of these, each known from its time on (see ``replay``)."""
        self._news.add([_declines(self._history), *_frauds(self._history, labels, self.clock_ms)])

    def until(self, end: int, progress: Callable[[int], None] | None = None) -> npt.NDArray[np.float32]:
        """Features of the rows from where the last step ended to ``end``, float32 (rows, WIDTH); repeated rows are all NaN."""
        begin, batch, clock_ms, seen = self._done, self._batch, self.clock_ms, self._seen
        out = np.full((end - begin, WIDTH), np.nan, dtype=np.float32)
        for start in range(begin, end, batch):
            rows = slice(start, min(start + batch, end))
            # cut only for labels and declines: cutting payments too would make features depend on the times of labels
            for first, last in pairwise([*self._news.cuts(clock_ms[rows]), rows.stop - start]):
                self._news.apply_until(int(clock_ms[start + first]), self._state)
                piece = slice(start + first, start + last)
                into = out[piece.start - begin : piece.stop - begin]
                self._state.features(self._columns[piece], piece, into, seen[piece])
            self._state.paid(self._columns[rows], rows, seen[rows])
            if progress is not None and (start // batch) % 64 == 0:
                progress(rows.stop)
        self._done = end
        repeated = seen[begin:end] == DUPLICATE
        suspected = np.flatnonzero(seen[begin:end] == POSSIBLE)
        if len(suspected):
            repeated[suspected] = self._id_before[begin + suspected]
        out[repeated] = np.nan
        return out

    @cached_property
    def _id_before(self) -> npt.NDArray[np.bool_]:
        """Whether each row's id occurred before."""
        ids, _ = _codes(identity_column(self._history))
        before = np.ones(len(ids), bool)
        before[np.unique(ids, return_index=True)[1]] = False
        return before


class _State:
    """The profiles of a whole history, and the slots that each row uses; -1 if an id is absent."""

    def __init__(self, history: pa.Table) -> None:
        n = history.num_rows
        self.card_slots, names = _codes(history["card_id"])
        self.customer_slots, customers = _codes_or_none(history, "customer_id")
        self.shared_entity_slots = np.full((n, 3), -1, dtype=np.int64)
        used = 0
        for kind, name in enumerate(("merchant_id", "device_id", "ip")):
            codes, found = _codes_or_none(history, name)
            self.shared_entity_slots[:, kind] = np.where(codes >= 0, codes + used, -1)
            used += len(found)
        owners = np.where(self.customer_slots >= 0, self.customer_slots + len(names), -1)
        self.fraud_slots = np.column_stack([self.card_slots, owners])
        hashes = np.array([text_hash(name) for name in names], dtype=np.uint32)
        self.card_hashes = hashes[self.card_slots] if n else np.empty(0, np.uint32)
        self.cards = new_arena(PAYER, len(names))
        self.customers = new_arena(PAYER, len(customers))
        self.shared_entities = new_arena(SHARED_ENTITY, used)
        self.frauds = new_arena(FRAUDS, len(names) + len(customers))

    def features(self, part: Payments, rows: slice, out: Any, seen: Any) -> None:
        """Features of some rows as of their start; cards' payments are applied one by one."""
        places = Places(
            self.card_slots[rows],
            self.customer_slots[rows],
            self.shared_entity_slots[rows],
            self.fraud_slots[rows],
        )
        profiles = Profiles(self.cards, self.customers, self.shared_entities, self.frauds)
        fill_features(part, places, profiles, out, seen, apply=True)

    def paid(self, part: Payments, rows: slice, seen: Any) -> None:
        """Apply the payments of some rows to their customers and shared entities."""
        customers, shared_entities = self.customer_slots[rows], self.shared_entity_slots[rows]
        fresh = seen == NEW
        apply_payments(part, np.where(fresh, customers, -1), self.customers)
        for kind in range(3):
            some = (shared_entities[:, kind] >= 0) & fresh
            n = int(some.sum())
            if n:
                apply_items(
                    shared_entities[some, kind], np.full(n, -1), np.full(n, PAID), part["event_ms"][some],
                    part["amount"][some], self.card_hashes[rows][some], np.zeros(n, np.int64), self.shared_entities,
                )  # fmt: skip

    def told(self, news: npt.NDArray[np.void], event_ms: npt.NDArray[np.int64]) -> None:
        """Apply labels to all entities of their payments, and declines to card and customer, in the tiles of the payments' event times."""
        labels, n = news["kind"] == LABEL, len(news)
        unplaced, kinds, frauds = np.full(n, -1), news["kind"].copy(), news["frauds"].copy()
        for slots in self.shared_entity_slots[news["row"]].T:
            some = (slots >= 0) & labels
            m = int(some.sum())
            if m == 0:
                continue
            apply_items(
                slots[some], unplaced[:m], kinds[some], event_ms[some], np.zeros(m, np.int64),
                np.zeros(m, np.uint32), frauds[some], self.shared_entities,
            )  # fmt: skip
        for slots in self.fraud_slots[news["row"]].T:
            some = slots >= 0
            m = int(some.sum())
            if m:
                apply_frauds(
                    slots[some], unplaced[:m], kinds[some], event_ms[some], frauds[some], self.frauds
                )


def columns_of_table(history: pa.Table) -> Payments:
    """The kernels' columns of a history table."""
    out = np.zeros(history.num_rows, dtype=PAYMENT)
    out["event_ms"] = _event_ms(history["event_time"])
    out["offset"] = -1
    out["amount"] = _numbers(history, "amount_minor", np.int64, 0)
    out["id_hash"] = _hashed(identity_column(history))
    out["merchant_hash"] = _hashed(history["merchant_id"])
    out["device_hash"] = _mapped(history, "device_id", lambda v: text_hash(v) if v else 0, np.uint32, 0)
    out["country"] = _mapped(history, "country", country_code, np.uint16, 0)
    out["latitude"] = _numbers(history, "latitude", np.float64, NAN)
    out["longitude"] = _numbers(history, "longitude", np.float64, NAN)
    out["channel"] = _mapped(history, "channel", lambda v: CHANNEL_NUMBERS.get(v, NAN), np.float32, NAN)
    out["mcc"] = _mapped(history, "mcc", mcc_number, np.float32, NAN)
    out["currency"] = _mapped(history, "currency", currency_number, np.float32, NAN)
    return out


class _News:
    """Labels and declines in the order in which they become known; applied as the replay's clock passes their times."""

    def __init__(self, event_ms: npt.NDArray[np.int64]) -> None:
        self.news, self.known_ms = np.empty(0, dtype=_NEWS), np.empty(0, dtype=np.int64)
        self.event_ms = event_ms
        self.done = 0

    def add(self, parts: Sequence[npt.NDArray[np.void]]) -> None:
        """More of them. Those whose time has passed are applied at the next opportunity."""
        news = np.concatenate([self.news[self.done :], *parts])
        self.news = news[np.argsort(news["known_ms"], kind="stable")]
        self.known_ms = np.ascontiguousarray(self.news["known_ms"])
        self.done = 0

    def cuts(self, clock_ms: npt.NDArray[np.int64]) -> list[int]:
        """The rows of a batch (with ascending clock) at which more is known than before, beginning with row 0."""
        until = int(np.searchsorted(self.known_ms, clock_ms[-1], side="right"))
        if until == self.done:
            return [0]
        found = np.searchsorted(clock_ms, self.known_ms[self.done : until], side="left")
        return [0, *np.unique(found[found > 0]).tolist()]

    def apply_until(self, now_ms: int, state: _State) -> None:
        until = int(np.searchsorted(self.known_ms, now_ms, side="right"))
        if until > self.done:
            news = self.news[self.done : until]
            self.done = until
            state.told(news, self.event_ms[news["row"]])


#: a label or decline of a history's row: when it is known, LABEL or DECLINED, and its change of the fraud count
_NEWS = np.dtype([("row", "<i8"), ("known_ms", "<i8"), ("kind", "<i8"), ("frauds", "<i8")])


def _news(rows: Any, known_ms: Any, kind: int, frauds: Any = 0) -> npt.NDArray[np.void]:
    out = np.zeros(len(rows), dtype=_NEWS)
    for name, values in (
        ("row", rows),
        ("known_ms", known_ms),
        ("kind", kind),
        ("frauds", frauds),
    ):
        out[name] = values
    return out


def _declines(history: pa.Table) -> npt.NDArray[np.void]:
    """The declined transactions, known from the time of their decision."""
    if "decision" not in history.column_names:
        return np.empty(0, dtype=_NEWS)
    declined = pc.fill_null(pc.equal(history["decision"], "decline"), False)
    chosen = pc.and_(declined, history["decided_at"].is_valid())
    rows = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
    return _news(rows, _event_ms(history["decided_at"])[rows], DECLINED)


def _frauds(
    history: pa.Table, labels: pa.Table | None, clock_ms: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.void]]:
    """The changes made by labels: the newest label of a transaction counts, and repeated ones change nothing."""
    own_columns = labels is None
    if labels is None:
        if "label" not in history.column_names:
            return []
        labels = history
    labels = pa.table(
        {"identity": identity_column(labels), **{name: labels[name] for name in ("label", "label_time")}}
    )
    labels = labels.filter(pc.and_(labels["label"].is_valid(), labels["label_time"].is_valid()))
    frauds = labels.filter(pc.equal(labels["label"], "fraud"))["identity"]
    labels = labels.filter(pc.is_in(labels["identity"], frauds.combine_chunks()))
    place = pc.index_in(labels["identity"], identity_column(history).combine_chunks())
    labels, place = labels.filter(place.is_valid()), place.drop_null()
    rows, known_ms = place.to_numpy().astype(np.int64), _event_ms(labels["label_time"])
    fraud = pc.equal(labels["label"], "fraud").to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.lexsort((known_ms, rows))
    rows, known_ms, fraud = rows[order], known_ms[order], fraud[order]
    first = np.concatenate([[True], rows[1:] != rows[:-1]])[: len(rows)]
    change = fraud - np.where(first, 0, np.roll(fraud, 1))
    rows, known_ms, change = rows[change != 0], known_ms[change != 0], change[change != 0]
    if own_columns:
        # known right after its time, and never to its own row: a history may state labels that precede their transactions
        known_ms = np.maximum(known_ms, clock_ms[rows]) + 1
    decided_ms = known_ms
    if "decided_at" in history.column_names:
        # a label counts from when both it and its decision are there
        decided_ms = np.maximum(known_ms, _event_ms(history["decided_at"])[rows])
    return [_news(rows, decided_ms, LABEL, change)]


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
