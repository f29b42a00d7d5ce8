"""The data set: rows of features whose label is known at a cut-off, in order of event time.

It comes from a history table (the engine's replay computes the features) or from the archive (``archived.py``: the served
features). Rows that have not matured, whose label is unknown, or that were declined so that nobody can know, are left out and
counted (``label_states.py``). An entry that was not in the catalogue when a row was made is NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import PREFIX
from features.catalogue import CATALOGUE_HASH, INDEX, WIDTH
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS, TableColumns
from models.training.label_states import (
    MATURITY_MS,
    MIN_CHANCE,
    NEVER_MS,
    NO_LABELS,
    Labels,
    LabelState,
    Silence,
    Stated,
    inferred_rows,
    joined,
    label_states,
)

FloatArray = npt.NDArray[np.float32]
DAY_MS = 86_400_000
#: where a source does not say in which currency an amount is
UNKNOWN_CURRENCY = "unknown"
_MS = pa.timestamp("ms", tz="UTC")


class DatasetError(Exception):
    """There are no rows to learn from, or a table has the wrong form; the text says which."""

    #: exit code of commands that fail with it: bad input
    exit_code = 2


@dataclass(frozen=True)
class Dataset:
    """Rows in order of event time. ``event_ms`` is int64 ms since 1970 UTC, ``card`` an array of card ids.

    ``labels``: of all rows of the source, also those that were left out; empty in a part taken by rows.
    ``fields``: the transactions' fields under the names that rules use (``models.policy.rules.columns``), a row each; None where
    the source does not have them. ``weight``: how many payments each row stands for, float32 (n,), above 1 for one that exploration let
    through (``models.policy.exploration``); None: each for itself. ``inferred``: declined payments of the same time as what the model of the
    time took them for (``inferred_rows``), for fitting and calibration alone: they are no facts, and nothing is measured on them.
    """

    matrix: FloatArray
    fraud: npt.NDArray[np.bool_]
    event_ms: npt.NDArray[np.int64]
    card: npt.NDArray[Any]
    labels: Labels = NO_LABELS
    fields: pa.Table | None = None
    weight: FloatArray | None = None
    inferred: Dataset | None = None

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def frauds(self) -> int:
        return int(self.fraud.sum())

    @property
    def weights(self) -> FloatArray:
        """``weight`` (n,), with ones where each row stands for itself."""
        return self.weight if self.weight is not None else np.ones(len(self), np.float32)

    def take(self, rows: npt.NDArray[Any]) -> Dataset:
        """The rows selected by a mask or an index array."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        fields = self.fields.take(pa.array(places)) if self.fields is not None else None
        weight = self.weight[rows] if self.weight is not None else None
        return Dataset(
            self.matrix[rows],
            self.fraud[rows],
            self.event_ms[rows],
            self.card[rows],
            fields=fields,
            weight=weight,
        )

    def between(self, start_ms: int, end_ms: int) -> Dataset:
        """Rows with event time in [start_ms, end_ms)."""
        part = self.take((self.event_ms >= start_ms) & (self.event_ms < end_ms))
        inferred = self.inferred.between(start_ms, end_ms) if self.inferred is not None else None
        return replace(part, labels=self.labels.between(start_ms, end_ms), inferred=inferred)

    def split(self, *shares: float) -> list[Dataset]:
        """Consecutive parts by event time; the last one takes the rest. ``split(0.7, 0.15)`` gives three."""
        edges = [int(len(self) * share) for share in np.cumsum(shares)]
        parts = np.split(np.arange(len(self)), edges)
        return [self.take(part) for part in parts]

    def with_inferred(self, whole: Dataset) -> Dataset:
        """These rows and what is inferred in ``whole`` of payments of their time, in order of event time."""
        if whole.inferred is None or not len(self):
            return self
        added = whole.inferred.between(int(self.event_ms[0]), int(self.event_ms[-1]) + 1)
        return join([self, added]) if len(added) else self

    def fingerprint(self) -> str:
        """SHA-256 of features, attributes, labels, times, weights and what is inferred; equal data gives an equal digest."""
        digest = hashlib.sha256(CATALOGUE_HASH.encode())
        for array in (self.matrix, self.fraud, self.event_ms, self.weight):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        for name in self.fields.column_names if self.fields is not None else ():
            if name.startswith(PREFIX):
                digest.update(msgspec.json.encode([name, self.given().column(name)]))
        if self.inferred is not None:
            digest.update(self.inferred.fingerprint().encode())
        return digest.hexdigest()

    def account(self) -> dict[str, Any]:
        """What the data are, for lineage: fingerprint, span of event time (ms), rows, frauds, label states and coverage."""
        return {
            "fingerprint": self.fingerprint(),
            "from_ms": int(self.event_ms[0]) if len(self) else None,
            "to_ms": int(self.event_ms[-1]) if len(self) else None,
            "rows": len(self),
            "frauds": self.frauds,
            "label_delay_days": MATURITY_MS / DAY_MS,
            "labels": self.labels.counts(),
            "label_coverage": self.labels.coverage(),
            **self._explored(),
        }

    def _explored(self) -> dict[str, Any]:
        """How many rows exploration let through, and how many payments they stand for; how many declined payments are inferred, and of how
        many frauds they were taken for. Nothing without any."""
        found: dict[str, Any] = {}
        if self.weight is not None:
            several = self.weight > 1
            stand_for = round(float(self.weight[several].sum()))
            found["explored"] = {"rows": int(several.sum()), "stand_for": stand_for}
        if self.inferred is not None:
            frauds = float(self.inferred.weights[self.inferred.fraud].sum())
            found["inferred"] = {"rows": self.inferred.frauds, "frauds": round(frauds, 1)}
        return found

    def amount_minor(self) -> FloatArray:
        """Amount of each row in minor units (n,)."""
        return self.matrix[:, INDEX["amount"]]

    def currency(self) -> npt.NDArray[Any]:
        """Currency of each row (n,); ``UNKNOWN_CURRENCY`` where the source does not say."""
        if self.fields is None or "currency" not in self.fields.column_names:
            return np.full(len(self), UNKNOWN_CURRENCY, dtype=object)
        return np.array(pc.fill_null(self.fields["currency"], UNKNOWN_CURRENCY).to_pylist(), dtype=object)

    def given(self) -> GivenColumns:
        """The attributes of one's own, as a model's columns take them."""
        return GivenColumns(self.fields)

    def columns(self) -> TableColumns | None:
        """The fields as rules and lists read them; None where the source has none."""
        if self.fields is None:
            return None
        return TableColumns({name: self.fields[name].to_pylist() for name in self.fields.column_names})


@dataclass(frozen=True)
class GivenColumns:
    """The columns of a table by name; None for one that it does not have."""

    table: pa.Table | None

    def column(self, name: str) -> list[Any] | None:
        if self.table is None or name not in self.table.column_names:
            return None
        values: list[Any] = self.table[name].to_pylist()
        return values


def join(parts: list[Dataset]) -> Dataset:
    """Several data sets as one, in order of event time.

    Raises:
        DatasetError: the list is empty.
    """
    if not parts:
        raise DatasetError("no data set to join")
    event_ms = np.concatenate([part.event_ms for part in parts])
    weighted = any(part.weight is not None for part in parts)
    whole = Dataset(
        np.concatenate([part.matrix for part in parts]), np.concatenate([part.fraud for part in parts]), event_ms,
        np.concatenate([part.card.astype(str) for part in parts]), fields=_joined_fields(parts),
        weight=np.concatenate([part.weights for part in parts]) if weighted else None,
    )  # fmt: skip
    labels = joined([part.labels for part in parts])
    inferred = [part.inferred for part in parts if part.inferred is not None]
    return replace(
        whole.take(np.argsort(event_ms, kind="stable")), labels=labels, inferred=join(inferred) if inferred else None,
    )  # fmt: skip


def fields_of(table: pa.Table, named: Mapping[str, str] = MappingProxyType({})) -> pa.Table | None:
    """The transactions' fields that a table has, under the names that rules use; None if it has none but the card.

    Args:
        named: the table's names of fields that it calls otherwise, and of attributes, which are read too.
    """
    found = {
        name: pc.cast(table[column], pa.float64() if name in NUMBER_FIELDS else pa.string())
        for name in sorted(NUMBER_FIELDS | TEXT_FIELDS)
        if (column := named.get(name, name)) in table.column_names
    }
    own = {name: name for name in table.column_names} | dict(named)
    found |= {name: table[column] for name, column in own.items() if name.startswith(PREFIX)}
    return pa.table(found) if found.keys() > {"card_id"} else None


def _joined_fields(parts: list[Dataset]) -> pa.Table | None:
    known = [part.fields for part in parts if part.fields is not None]
    if not known:
        return None
    # a part without fields has rows all the same
    tables = [
        part.fields if part.fields is not None else pa.table({"card_id": pa.array(part.card.astype(str))})
        for part in parts
    ]
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def in_order(history: pa.Table) -> pa.Table:
    """A history in order of event time, unless it says when each row arrived (``arrival_time``).

    Otherwise a file that is newest first would know the labels of all older rows before they come.
    """
    if "arrival_time" in history.column_names:
        return history
    event_ms = milliseconds(history["event_time"])
    return history if (np.diff(event_ms) >= 0).all() else history.take(np.argsort(event_ms, kind="stable"))


def from_history(
    table: pa.Table, compute: Callable[[pa.Table], FloatArray], as_of_ms: int | None = None, *,
    silence: Silence = "unknown",
) -> Dataset:  # fmt: skip
    """Compute the features of every row with ``compute`` (``features.replay.replay``) and keep the rows with a known label.

    Args:
        table: a history table, rows in order of arrival (see ``in_order``).
        as_of_ms: the cut-off; a label counts if its ``label_time`` is not later, a row if it is at least ``MATURITY_MS``
            older. None: all labels and all rows.
        silence: what a matured row without a label is.

    Raises:
        DatasetError: the features do not match the table, or no row has a known label.
    """
    matrix = compute(table)
    if matrix.shape != (table.num_rows, WIDTH):
        raise DatasetError(
            f"features are {matrix.shape}, the table has {table.num_rows} rows and the catalogue {WIDTH}"
        )
    event_ms = milliseconds(table["event_time"])
    labels = label_states(stated(table), event_ms, as_of_ms, silence=silence)
    return known_rows(matrix, labels, table["card_id"], fields_of(table))


def stated(table: pa.Table) -> Stated:
    """The columns ``label`` and ``label_time`` of a table."""
    label = pc.cast(table["label"], pa.string()).to_numpy(zero_copy_only=False)
    return Stated.of(label, milliseconds(table["label_time"]))


def known_rows(
    matrix: FloatArray,
    labels: Labels,
    card: Any,
    fields: pa.Table | None = None,
    weight: FloatArray | None = None,
    chance: FloatArray | None = None,
) -> Dataset:
    """The rows that are known to be honest or fraud, in order of event time.

    Args:
        weight: of every row (``Dataset``).
        chance: of every row, of fraud as the model said that decided it; NaN where nothing is to be inferred. None: nothing is.

    Raises:
        DatasetError: there are none; the text says what the others are.
    """
    # the engine gives repeated transactions no features, so they have no amount
    present = ~np.isnan(matrix[:, INDEX["amount"]])
    rows = np.flatnonzero(present & (labels.state <= LabelState.FRAUD))
    if not len(rows):
        counts = labels.take(present).counts()
        others = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number)
        raise DatasetError(
            f"no transaction is known to be honest or fraud at the cut-off ({others or 'there is none at all'}). One matures after "
            f"{MATURITY_MS // DAY_MS} days, in which it may still be reported as fraud; one without a label is unknown, unless only frauds are "
            "labelled (`tollgate train --unlabelled honest`)"
        )
    rows = rows[np.argsort(labels.event_ms[rows], kind="stable")]
    cards = np.asarray(card.to_pandas())
    inferred = None
    if chance is not None:
        declined = np.flatnonzero(present & (labels.state == LabelState.CENSORED) & (chance >= MIN_CHANCE))
        if len(declined):
            twice = inferred_rows(chance[declined])
            inferred = _rows_of(matrix, twice.fraud, labels, cards, fields, declined[twice.row])
            inferred = replace(inferred, weight=twice.weight)
    data = _rows_of(matrix, labels.state[rows] == LabelState.FRAUD, labels, cards, fields, rows)
    weighed = weight[rows] if weight is not None and (weight[rows] != 1).any() else None
    return replace(data, labels=labels.take(present), weight=weighed, inferred=inferred)


def _rows_of(
    matrix: FloatArray, fraud: npt.NDArray[np.bool_], labels: Labels, cards: npt.NDArray[Any], fields: pa.Table | None,
    rows: npt.NDArray[np.intp],
) -> Dataset:  # fmt: skip
    return Dataset(
        np.ascontiguousarray(matrix[rows], dtype=np.float32), fraud, labels.event_ms[rows], cards[rows],
        fields=fields.take(pa.array(rows)) if fields is not None else None,
    )  # fmt: skip


def milliseconds(column: Any) -> npt.NDArray[np.int64]:
    """Milliseconds since 1970; absent times become a far future, later than any cut-off."""
    numbers = pc.cast(pc.cast(column, _MS, safe=False), pa.int64())
    return np.asarray(pc.fill_null(numbers, NEVER_MS)).astype(np.int64)
