"""Attributes of one's own as columns of a model: numbers as they are, texts by an encoding that was learnt in training.

They stand behind the catalogue's columns, in this order. A missing attribute is NaN, a text that training did not know has the value
``other``. Every text of a column has a value of its own, so that a reason can say which one it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX, Attributes, Kind, aligned_values
from features.vector_layouts import Layout

#: a bundle's file of its model's attributes, if it takes some
ATTRIBUTES = "attributes.json"


class AttributeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attribute as the model takes it. ``encoding``: log-odds of fraud of each text (float32), ``other``: of all others."""

    name: str
    type: Kind
    unit: str = ""
    meaning: str = ""
    encoding: dict[str, float] = {}
    other: float = 0.0

    @property
    def definition(self) -> str:
        """What must be equal for the column to be the same (``features.vector_layouts``)."""
        return f"attribute {self.type}"

    def values(self, given: Sequence[Any]) -> npt.NDArray[np.float32]:
        """The column (n,) of n values, None where missing; a value of the other type is missing too."""
        if self.type == "text":
            look, other = self.encoding.get, self.other
            found = [look(value, other) if type(value) is str else None for value in given]
        else:
            found = [None if type(value) is str else value for value in given]
        return np.array(found, dtype=np.float32)


class Columns(Protocol):
    """The transactions' fields and attributes, in the order of the rows."""

    def column(self, name: str) -> Sequence[Any] | None:
        """The values of ``attributes.NAME``, None in rows without it; None if no row has it."""


@dataclass(frozen=True)
class AttributeColumns:
    """The columns of one model, k of them."""

    columns: tuple[AttributeColumn, ...] = ()

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(PREFIX + column.name for column in self.columns)

    def behind(self, layout: Layout) -> Layout:
        """A layout with these columns behind its own."""
        definitions = tuple(column.definition for column in self.columns)
        return Layout(layout.catalogue, layout.names + self.names, layout.definitions + definitions)

    def block(self, rows: int, given: Columns | None) -> npt.NDArray[np.float32]:
        """The columns (rows, k); ``given`` None: nothing is known of them."""
        out = np.full((rows, len(self.columns)), np.nan, dtype=np.float32)
        for place, (name, column) in enumerate(zip(self.names, self.columns, strict=True)):
            values = given.column(name) if given is not None else None
            if values is not None:
                out[:, place] = column.values(values)
        return out

    def missing_in(self, declared: Attributes) -> list[str]:
        """What a stack does not declare as the model needs it, in words; empty if it declares all."""
        out = []
        for column in self.columns:
            there = declared.type_of(column.name)
            if there != column.type:
                said = f", declared a {there}" if there else ""
                out.append(f"{PREFIX}{column.name} ({column.type}{said})")
        return out


NO_COLUMNS = AttributeColumns()


class AttributeWords:
    """Reasons by an attribute's value, as people read them."""

    def __init__(self, column: AttributeColumn) -> None:
        self._code = f"ATTRIBUTE_{column.name.upper()}"
        self._name = column.meaning or column.name.replace("_", " ")
        self._unit = f" {column.unit}" if column.unit else ""
        self._texts: Mapping[np.float32, str] | None = None
        if column.type == "text":
            self._texts = {np.float32(value): text for text, value in column.encoding.items()}

    def __call__(self, value: float, contribution: float, currency: str | None) -> tuple[str, str, float]:
        """(code, text, contribution) of a value as the model takes it; a number has the unit that was declared."""
        if self._texts is None:
            shown = f"{value:,.6g}{self._unit}"
        else:
            shown = self._texts.get(np.float32(value), "a value that training did not know")
        return self._code, f"{self._name}: {shown}", contribution


class SentAttributes:
    """The attributes of transactions, as they were sent."""

    def __init__(self, rows: Sequence[Any]) -> None:
        """``rows``: ``attributes`` of each transaction; unset or None where it has none."""
        self._rows = [row or {} for row in rows]

    def column(self, name: str) -> Sequence[Any]:
        """The values of ``attributes.NAME``, None in rows without it."""
        own = name.removeprefix(PREFIX)
        if self._aligned is not None and own in self._aligned:
            return self._aligned[own]
        return [row.get(own) for row in self._rows]

    @cached_property
    def _aligned(self) -> dict[str, Sequence[Any]] | None:
        # rows of one producer have the same names, and their columns cost half as much together
        return aligned_values(self._rows) if self._rows and all(self._rows) else None


def decode_attributes(raw: bytes, layout: Layout) -> AttributeColumns:
    """The columns in the file of a bundle with this layout.

    Raises:
        ValueError: it does not parse, or has other columns than the layout names.
    """
    columns = AttributeColumns(msgspec.json.decode(raw, type=tuple[AttributeColumn, ...]))
    if layout != columns.behind(layout.features):
        raise ValueError("it does not fit the columns that the manifest names")
    return columns


def read_attributes(bundle: Path, layout: Layout) -> AttributeColumns:
    """The columns of the bundle in a folder, whose signature is not checked here.

    Raises:
        ValueError: see ``decode_attributes``. OSError: the layout names attributes, and their file cannot be read.
    """
    if layout.features is layout:
        return NO_COLUMNS
    return decode_attributes((bundle / ATTRIBUTES).read_bytes(), layout)
