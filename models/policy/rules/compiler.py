"""Compile the tree of a condition to a function on columns. Types are checked here, before anything runs.

SQL's three-valued logic applies: a comparison with a missing value is neither true nor false, and a rule matches only where
its condition is true. NOT is pushed down to the comparisons (De Morgan's laws hold in three values); each comparison then gives
the rows where it, or its opposite, is true: one NumPy operation per comparison, and no mask for NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlglot import exp

from features.attributes import PREFIX
from models.policy.rules.arithmetic import Value, constant, number
from models.policy.rules.columns import Batch, Mask
from models.policy.rules.language import attribute_column, parse, refuse, text_field
from models.policy.rules.shared_terms import FeatureComparisons, Match, TextSets


def _differs(left: Any, right: Any) -> Mask:
    return np.less(left, right) | np.greater(left, right)  # type: ignore[no-any-return]


#: comparison -> (function for the rows where it is true, function for the rows where it is false)
_COMPARE: dict[type, tuple[Any, Any]] = {
    exp.GT: (np.greater, np.less_equal), exp.GTE: (np.greater_equal, np.less),
    exp.LT: (np.less, np.greater_equal), exp.LTE: (np.less_equal, np.greater),
    exp.EQ: (np.equal, _differs), exp.NEQ: (_differs, np.equal),
}  # fmt: skip


#: the same comparison with its sides swapped
_MIRRORED: dict[Any, Any] = {
    np.greater: np.less, np.less: np.greater, np.greater_equal: np.less_equal, np.less_equal: np.greater_equal,
    np.equal: np.equal, _differs: _differs,
}  # fmt: skip


class Meaning:
    """Compiles the conditions of one policy, before any batch; a term used by several conditions is computed once per batch."""

    def __init__(self) -> None:
        self.atoms: dict[str, Match] = {}
        self._comparisons: dict[Any, FeatureComparisons] = {}
        self._texts: dict[str, TextSets] = {}

    def compile(self, rule: str, text: str) -> Match:
        """A function that returns the rows where the condition is true.

        Raises:
            RuleRefused: the condition does not parse, is outside the language, or names something unknown.
        """
        return self.compile_tree(rule, parse(rule, text))

    def compile_tree(self, rule: str, node: exp.Expr) -> Match:
        """``compile`` a parsed condition, or a part of one."""
        return _Condition(rule, self).truth(node, negated=False)

    def compare(self, comparison: Any, feature: int, number: float) -> Match:
        """The rows where a feature compares so with a number; ``comparison`` is a NumPy function."""
        if comparison not in self._comparisons:
            self._comparisons[comparison] = FeatureComparisons(comparison)
        return self._comparisons[comparison].add(feature, number)

    def within(self, name: str, wanted: frozenset[str], negated: bool = False) -> Match:
        """The rows whose text is one of ``wanted``; with ``negated``, whose text is known and not one of them."""
        if name not in self._texts:
            self._texts[name] = TextSets(name)
        return self._texts[name].add(wanted, negated)


class _Condition:
    def __init__(self, rule: str, meaning: Meaning) -> None:
        self._rule = rule
        self._meaning = meaning

    def truth(self, node: exp.Expr, negated: bool) -> Match:
        """The rows where the node is true; with ``negated``, where it is false."""
        if isinstance(node, exp.Paren):
            return self.truth(node.this, negated)
        if isinstance(node, exp.Not):
            return self.truth(node.this, not negated)
        if isinstance(node, exp.And | exp.Or):
            left, right = self.truth(node.this, negated), self.truth(node.expression, negated)
            if isinstance(node, exp.And) != negated:
                return lambda batch: left(batch) & right(batch)
            return lambda batch: left(batch) | right(batch)
        key = f"{negated} {node.sql(comments=False).lower() if not _has_text(node) else node.sql(comments=False)}"
        atoms = self._meaning.atoms
        if key not in atoms:
            atoms[key] = _once_a_batch(key, self._atom(node, negated))
        return atoms[key]

    def _atom(self, node: exp.Expr, negated: bool) -> Match:
        if type(node) in _COMPARE:
            return self._comparison(node, negated)
        if isinstance(node, exp.Between):
            return self._between(node, negated)
        if isinstance(node, exp.In):
            return self._within(node, negated)
        if isinstance(node, exp.Is):
            return self._missing(node, negated)
        if isinstance(node, exp.Like):
            return self._like(node, negated)
        raise refuse(self._rule, node, "is not a condition: compare it with something")

    def _comparison(self, node: exp.Expr, negated: bool) -> Match:
        left, right = node.this, node.expression
        name = text_field(left, right) or text_field(right, left)
        if name is not None:
            other = right if text_field(left, right) else left
            if not isinstance(node, exp.EQ | exp.NEQ) or not _is_text(other):
                raise refuse(self._rule, node, f"must compare {name} by = or <> with a text in single quotes")
            return self._members(node, name, [other], negated != isinstance(node, exp.NEQ))
        compare = _COMPARE[type(node)][negated]
        return self._compared(compare, *self._two_numbers(node, left, right))

    def _between(self, node: exp.Expr, negated: bool) -> Match:
        value, low = self._two_numbers(node, node.this, node.args["low"])
        high = number(self._rule, node.args["high"])
        above = self._compared(_COMPARE[exp.GTE][negated], value, low)
        below = self._compared(_COMPARE[exp.LTE][negated], value, high)
        if negated:
            return lambda batch: above(batch) | below(batch)
        return lambda batch: above(batch) & below(batch)

    def _within(self, node: exp.Expr, negated: bool) -> Match:
        items = node.expressions
        if not items:
            raise refuse(self._rule, node, "must list its values: IN ('FR', 'DE')")
        name = text_field(node.this, *items)
        if name is not None:
            return self._members(node, name, items, negated)
        value = number(self._rule, node.this)
        constants = [number(self._rule, item).constant for item in items]
        if value.constant is not None or None in constants:
            raise refuse(self._rule, node, "must compare a field or feature with numbers: IN (5411, 5812)")
        # each constant takes the column's precision, as in a single comparison
        pairs = [self._compared(_COMPARE[exp.EQ][negated], value, constant(c)) for c in constants]  # type: ignore[arg-type]
        gather = np.logical_and if negated else np.logical_or
        return lambda batch: gather.reduce([pair(batch) for pair in pairs])

    def _members(self, node: exp.Expr, name: str, items: list[exp.Expr], negated: bool) -> Match:
        if not all(_is_text(item) for item in items):
            raise refuse(self._rule, node, f"must compare {name} with texts in single quotes")
        wanted = frozenset(str(item.this) for item in items)
        return self._meaning.within(name, wanted, negated)

    def _missing(self, node: exp.Expr, negated: bool) -> Match:
        if not isinstance(node.expression, exp.Null):
            raise refuse(self._rule, node, "must be IS NULL or IS NOT NULL")
        own = attribute_column(node.this)
        name = text_field(node.this) if own is None else PREFIX + own
        if name is not None:
            if negated:
                return lambda batch: ~_absent(batch, name)
            return lambda batch: _absent(batch, name)
        value = number(self._rule, node.this)
        if value.constant is not None:
            raise refuse(self._rule, node, "names no field or feature")
        if negated:
            return lambda batch: ~np.isnan(value.of(batch))
        return lambda batch: np.isnan(value.of(batch))

    def _like(self, node: exp.Expr, negated: bool) -> Match:
        negated ^= bool(node.args.get("negate"))
        name, pattern = text_field(node.this, node.expression), node.expression
        text = str(pattern.this) if _is_text(pattern) else ""
        core = text.strip("%")
        if name is None or len(core) < 2 or "%" in core or "_" in core or len(text) - len(core) > 2:
            raise refuse(
                self._rule,
                node,
                "must be LIKE 'start%', '%end' or '%part%' of a text field, with at least 2 characters",
            )
        begins, ends = not text.startswith("%"), not text.endswith("%")

        def fits(value: str | None) -> bool:
            if value is None:
                return False
            if begins and ends:
                return value == core
            return value.startswith(core) if begins else value.endswith(core) if ends else core in value

        def match(batch: Batch) -> Mask:
            found = np.fromiter(map(fits, batch.text(name)), np.bool_, batch.rows)
            return ~(found | _absent(batch, name)) if negated else found

        return match

    def _compared(self, compare: Any, left: Value, right: Value) -> Match:
        if left.constant is not None:
            compare, left, right = _MIRRORED[compare], right, left
        if right.constant is None:
            return lambda batch: compare(left.of(batch), right.of(batch))
        constant, column = right.constant, left.of
        if left.feature is None:
            # a Python number takes the column's precision: a float32 score equals the number shown for it
            return lambda batch: compare(column(batch), constant)
        if compare is not _differs:
            return self._meaning.compare(compare, left.feature, constant)
        less = self._meaning.compare(np.less, left.feature, constant)
        greater = self._meaning.compare(np.greater, left.feature, constant)
        return lambda batch: less(batch) | greater(batch)

    def _two_numbers(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> tuple[Value, Value]:
        values = number(self._rule, left), number(self._rule, right)
        if values[0].constant is not None and values[1].constant is not None:
            raise refuse(
                self._rule, node, "names no field or feature, so it is the same for every transaction"
            )
        return values


def _once_a_batch(key: str, match: Match) -> Match:
    def run(batch: Batch) -> Mask:
        found = batch.memo.get(key)
        if found is None:
            found = batch.memo[key] = match(batch)
        return found  # type: ignore[no-any-return]

    return run


def _absent(batch: Batch, name: str) -> Mask:
    key = (name, "absent")
    found = batch.memo.get(key)
    if found is None:
        found = batch.memo[key] = np.array([value is None for value in batch.text(name)], np.bool_)
    return found  # type: ignore[no-any-return]


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _has_text(node: exp.Expr) -> bool:
    return any(literal.is_string for literal in node.find_all(exp.Literal))
