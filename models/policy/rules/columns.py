"""A batch as rules see it: scores, features and the transactions' fields; each column is made when it is first used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]

#: transaction fields that rules may use, by kind; not times (features give hour and weekday)
NUMBER_FIELDS = frozenset({"amount_minor", "latitude", "longitude"})
TEXT_FIELDS = frozenset(
    {
        "transaction_id", "card_id", "merchant_id", "customer_id", "device_id", "ip", "mcc", "channel", "country",
        "currency", "tenant",
    }
)  # fmt: skip


class Columns(Protocol):
    """The transactions' fields, in the order of the batch's rows."""

    def column(self, name: str) -> Sequence[Any] | None:
        """The values of a field, None in rows without it; None if there is no such field at all."""


class FieldUnknown(Exception):
    """The rows of this batch have no such field, so a rule that uses it cannot be evaluated."""


class TableColumns:
    """Columns given as they are, for history and tests."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = columns

    def column(self, name: str) -> Sequence[Any] | None:
        return self._columns.get(name)


class Batch:
    """``scores`` float32 (n,), ``matrix`` float32 (n, WIDTH) or None; ``memo`` holds results that several rules share."""

    __slots__ = ("columns", "matrix", "memo", "rows", "scores")

    def __init__(
        self, scores: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32] | None, columns: Columns | None
    ) -> None:
        self.scores = scores
        self.matrix = matrix
        self.columns = columns
        self.rows = len(scores)
        self.memo: dict[Any, Any] = {}

    def text(self, name: str) -> Sequence[str | None]:
        """A text field; None in rows without it.

        Raises:
            FieldUnknown: the rows have no such field.
        """
        found = self.memo.get(name)
        if found is None:
            found = self.columns.column(name) if self.columns is not None else None
            if found is None:
                raise FieldUnknown(name)
            self.memo[name] = found
        return found  # type: ignore[no-any-return]

    def number(self, name: str) -> Numbers:
        """A number field as float64 (n,); NaN in rows without it.

        Raises:
            FieldUnknown: the rows have no such field.
        """
        key = (name, "number")
        found = self.memo.get(key)
        if found is None:
            values = self.text(name)
            if name.startswith(PREFIX):
                # of an attribute that was a text before it was declared a number
                values = [None if type(value) is str else value for value in values]
            found = self.memo[key] = np.array(values, dtype=np.float64)
        return found  # type: ignore[no-any-return]

    def feature(self, index: int) -> Numbers:
        """A feature as float32 (n,); NaN where unknown.

        Raises:
            FieldUnknown: the rows have no features.
        """
        if self.matrix is None:
            raise FieldUnknown("features")
        return self.matrix[:, index]
