"""Attributes of one's own as columns of a file: numbers and texts, in the canonical form that the stack gives them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.attributes import PREFIX, Attribute, Attributes
from features.transaction import Transaction
from streams.contracts.attribute_values import with_fitting_attributes
from streams.mapping.definition import FieldRule, FileRule, Mapping
from streams.mapping.fields.converted import Converted, findings
from streams.mapping.fields.numbers import notation, read_numbers
from streams.mapping.fields.text import convert_text


def attributes_of(mapping: Mapping) -> Attributes:
    """The attributes that a mapping fills, with the types that it says."""
    return Attributes(
        {name: Attribute((mapping.rule(PREFIX + name) or FieldRule()).kind) for name in mapping.attributes}
    )


def convert_attribute(
    name: str, rule: FieldRule, cells: list[pa.Array], file: FileRule, key: bytes | None
) -> Converted:
    """The values of one attribute: float64 for a number, else text. A truth value as a number is 0 or 1; NaN means absent."""
    if rule.kind == "text":
        return convert_text(name, rule, cells, key)
    column = cells[0].cast(pa.int8()) if pa.types.is_boolean(cells[0].type) else cells[0]
    style = notation(rule, file)
    numbers = read_numbers(column, style)
    return Converted(
        pa.array(numbers.values, mask=np.isnan(numbers.values)),
        findings((f"is no number with {style}", numbers.unread)),
    )


def with_attributes_of(tx: Transaction, attributes: Attributes) -> Transaction:
    """The transaction with its attributes in canonical form. Raises: InvalidEvent."""
    return with_fitting_attributes(tx, attributes).transaction


def texts_of(transactions: list[Transaction], field: str) -> list[str | None]:
    """One text attribute of each transaction; ``field``: its name with the prefix."""
    name = field.removeprefix(PREFIX)
    return [tx.attributes.get(name) if tx.attributes else None for tx in transactions]
