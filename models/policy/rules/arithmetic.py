"""Numbers in conditions: constants, columns, and calculations on them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlglot import exp

from features.attributes import PREFIX
from features.catalogue import INDEX, NAMES
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS, Batch, Numbers
from models.policy.rules.language import attribute_column, refuse

MAX_NUMBER = 1e15
#: prefix of a feature that has the same name as a field
_QUALIFIER = "features"


def _divide(left: Any, right: Any) -> Any:
    return np.where(right == 0, np.nan, left / right)


_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    exp.Add: np.add, exp.Sub: np.subtract, exp.Mul: np.multiply, exp.Div: _divide,
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A number: a constant, or a column computed from the batch."""

    constant: float | None
    of: Callable[[Batch], Numbers]
    #: its catalogue column, if it is a plain feature
    feature: int | None = None


def number(rule: str, node: exp.Expr) -> Value:
    """Compile a number.

    Raises:
        RuleRefused: it is not a number, or names something unknown.
    """
    if isinstance(node, exp.Paren):
        return number(rule, node.this)
    if isinstance(node, exp.Literal) and not node.is_string:
        return _literal(rule, node)
    if isinstance(node, exp.Column):
        return _column(rule, node)
    if isinstance(node, exp.Neg):
        return _derived(np.negative, number(rule, node.this))
    if isinstance(node, exp.Abs):
        return _derived(np.abs, number(rule, node.this))
    if isinstance(node, exp.Coalesce):
        return _coalesce(rule, node)
    operation = _ARITHMETIC.get(type(node))
    if operation is None:
        hint = "; use IS NULL to ask for a missing value" if isinstance(node, exp.Null) else ""
        raise refuse(rule, node, f"is not a number{hint}")
    left, right = number(rule, node.this), number(rule, node.expression)
    if isinstance(node, exp.Div) and right.constant == 0:
        raise refuse(rule, node, "divides by zero")
    return _derived(operation, left, right)


def _literal(rule: str, node: exp.Expr) -> Value:
    try:
        value = float(node.this)
    except ValueError:
        raise refuse(rule, node, "is not a number") from None
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise refuse(rule, node, f"is larger than {MAX_NUMBER:g}")
    return constant(value)


def _coalesce(rule: str, node: exp.Expr) -> Value:
    if len(node.expressions) != 1:
        raise refuse(rule, node, "must have two arguments: coalesce(card_count_1h, 0)")
    value, default = number(rule, node.this), number(rule, node.expressions[0])
    return _derived(lambda known, other: np.where(np.isnan(known), other, known), value, default)


def _column(rule: str, node: exp.Expr) -> Value:
    name, qualifier = node.name.lower(), node.text("table").lower()
    own = attribute_column(node)
    if own is not None:
        return Value(None, lambda batch: batch.number(PREFIX + own))
    if qualifier not in ("", _QUALIFIER):
        raise refuse(rule, node, f"is unknown; the prefixes of names are {_QUALIFIER}. and {PREFIX}")
    if not qualifier and name == "score":
        return Value(None, lambda batch: batch.scores)
    if not qualifier and name in NUMBER_FIELDS:
        return Value(None, lambda batch: batch.number(name))
    if not qualifier and name in TEXT_FIELDS:
        raise refuse(rule, node, "is a text: compare it with a text in single quotes")
    if name in INDEX:
        index = INDEX[name]
        return Value(None, lambda batch: batch.feature(index), index)
    raise refuse(rule, node, f"is neither a field nor a feature{_near(name)}")


def constant(value: float) -> Value:
    """The same number in every row."""
    return Value(value, lambda batch: np.full(batch.rows, value))


def _derived(operation: Callable[..., Any], *values: Value) -> Value:
    """A calculation in double precision; one on constants alone is done here."""
    if all(value.constant is not None for value in values):
        return constant(float(operation(*(np.float64(value.constant or 0.0) for value in values))))
    parts = [value.of for value in values]
    return Value(None, lambda batch: operation(*(part(batch).astype(np.float64) for part in parts)))


def _near(name: str) -> str:
    close = difflib.get_close_matches(name, [*NUMBER_FIELDS, *TEXT_FIELDS, "score", *NAMES], 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{hint} (`tollgate features catalogue` lists the features)"
