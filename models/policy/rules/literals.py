"""A condition as literals joined by AND and OR: each says of one field, feature or calculation which values make it true.

NOT is pushed down to the literals, as in ``compiler``. The conditions given here have been compiled, so their types fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal as OneOf

from sqlglot import exp

from features.attributes import NUMBER_LIMIT, PREFIX
from features.catalogue import FEATURES, INDEX
from features.ranges import AMOUNT, Range, range_of
from models.policy.rules import intervals
from models.policy.rules.arithmetic import number
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS
from models.policy.rules.intervals import Interval, Numbers, point
from models.policy.rules.language import attribute_column, text_field

_FIELD_RANGES = {
    "amount_minor": AMOUNT, "latitude": Range(-90, 90), "longitude": Range(-180, 180), "score": Range(0, 1),
}  # fmt: skip
#: every transaction has these
_ALWAYS_KNOWN = frozenset(
    {"transaction_id", "card_id", "merchant_id", "amount_minor", "currency", "tenant"}
    | {"amount", "log_amount", "round_amount", "hour", "weekday", "night", "weekend", "currency_code"}
)
_INF = float("inf")


@dataclass(frozen=True)
class Subject:
    """What a literal is about. ``key``: the same for the same values; ``known_with``: what must be known for it to be known."""

    key: str
    range: Range
    known_with: frozenset[str]
    #: the place of its column in the catalogue, if it is a plain feature
    feature: int | None = None

    @property
    def numbers(self) -> Numbers:
        return (intervals.of_range(self.range),)


@dataclass(frozen=True)
class _Written:
    """``node`` as in the condition, or its opposite if it is ``negated``."""

    node: exp.Expr
    negated: bool

    @property
    def written(self) -> exp.Expr:
        return exp.Not(this=self.node) if self.negated else self.node


@dataclass(frozen=True)
class NumberLiteral(_Written):
    """True where the subject is one of ``numbers``.

    ``constants``: the numbers that are written; ``values``: what the subject is where the calculation on it gives them.
    """

    subject: Subject
    numbers: Numbers
    constants: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class TextLiteral(_Written):
    """True where the field holds one of ``texts``, or, if it ``excludes`` them, another text."""

    field: str
    texts: frozenset[str]

    @property
    def excludes(self) -> bool:
        return self.negated != isinstance(self.node, exp.NEQ)


@dataclass(frozen=True)
class PatternLiteral(_Written):
    """True where the field's text holds ``core`` at its beginning, its end, both or anywhere; or does not, if it ``excludes`` that."""

    field: str
    core: str
    begins: bool
    ends: bool

    @property
    def excludes(self) -> bool:
        return self.negated != bool(self.node.args.get("negate"))


@dataclass(frozen=True)
class MissingLiteral(_Written):
    """True where ``names`` are missing; with ``negated``, where they are known."""

    names: frozenset[str]


Literal = NumberLiteral | TextLiteral | PatternLiteral | MissingLiteral


@dataclass(frozen=True)
class Joined:
    """Parts joined by AND or OR. ``node``: what was written."""

    node: exp.Expr
    by: OneOf["and", "or"]
    parts: tuple[Tree, ...]


Tree = Joined | Literal


def literals_of(node: exp.Expr, negated: bool = False) -> Tree:
    """The tree of a condition, or with ``negated`` of its opposite. Nested ANDs and nested ORs become one."""
    if isinstance(node, exp.Paren):
        return literals_of(node.this, negated)
    if isinstance(node, exp.Not):
        return literals_of(node.this, not negated)
    if not isinstance(node, exp.And | exp.Or):
        return _literal(node, negated)
    by: OneOf["and", "or"] = "and" if isinstance(node, exp.And) != negated else "or"
    parts: list[Tree] = []
    for side in (node.this, node.expression):
        part = literals_of(side, negated)
        parts += part.parts if isinstance(part, Joined) and part.by == by else [part]
    return Joined(node, by, tuple(parts))


def leaves(tree: Tree) -> Iterator[Literal]:
    """All literals of a tree, in the order in which they are written."""
    if isinstance(tree, Joined):
        for part in tree.parts:
            yield from leaves(part)
    else:
        yield tree


def subjects(literal: Literal) -> frozenset[str]:
    """The fields and features that are known wherever a literal is true; of one about missing values, those that it names."""
    if isinstance(literal, NumberLiteral):
        return literal.subject.known_with
    return literal.names if isinstance(literal, MissingLiteral) else frozenset({literal.field})


def always_known(name: str) -> bool:
    """Whether every transaction has this field or feature."""
    return name in _ALWAYS_KNOWN


def _literal(node: exp.Expr, negated: bool) -> Literal:
    if isinstance(node, exp.Is):
        # a calculation may also be missing because it divides by zero
        plain = isinstance(node.this, exp.Column)
        return MissingLiteral(node, negated, _names(node.this) if plain or negated else frozenset())
    field = text_field(node.this, *_beside(node))
    if isinstance(node, exp.Like):
        text = str(node.expression.this)
        return PatternLiteral(
            node, negated, str(field), text.strip("%"), not text.startswith("%"), not text.endswith("%")
        )
    if field is None and isinstance(node, exp.EQ | exp.NEQ):
        field = text_field(node.expression, node.this)
    if field is not None:
        items = node.expressions if isinstance(node, exp.In) else [node.this, node.expression]
        texts = frozenset(str(item.this) for item in items if isinstance(item, exp.Literal))
        return TextLiteral(node, negated, field, texts)
    return _number_literal(node, negated)


def _beside(node: exp.Expr) -> list[exp.Expr]:
    """What stands beside the first part of a comparison."""
    if isinstance(node, exp.In):
        return list(node.expressions)
    return [node.expression] if isinstance(node, exp.EQ | exp.NEQ | exp.Like) else []


def _number_literal(node: exp.Expr, negated: bool) -> NumberLiteral:
    if isinstance(node, exp.Between):
        low, high = _constant(node.args["low"]), _constant(node.args["high"])
        if low is None or high is None:
            return NumberLiteral(node, negated, _subject(node.this), (Interval(),), (), ())
        inside: Numbers = (Interval(low, high),) if low <= high else ()
        return _scaled(node, negated, node.this, inside, (low, high))
    if isinstance(node, exp.In):
        points = sorted({value for item in node.expressions if (value := _constant(item)) is not None})
        return _scaled(node, negated, node.this, tuple(map(point, points)), tuple(points))
    left, right, kind = node.this, node.expression, type(node)
    if _constant(left) is not None:
        left, right, kind = right, left, _MIRRORED.get(kind, kind)
    value = _constant(right)
    if value is None:
        sides = [side if isinstance(side, exp.Column) else exp.Paren(this=side) for side in (left, right)]
        difference = exp.Sub(this=sides[0], expression=sides[1])
        return _scaled(node, negated, difference, _numbers(kind, 0.0), ())
    return _scaled(node, negated, left, _numbers(kind, value), (value,))


_MIRRORED: dict[type, type] = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}


def _numbers(kind: type, value: float) -> Numbers:
    if kind is exp.EQ:
        return (point(value),)
    if kind is exp.NEQ:
        return Interval(-_INF, value, high_open=True), Interval(value, _INF, low_open=True)
    if kind in (exp.GT, exp.GTE):
        return (Interval(value, _INF, low_open=kind is exp.GT),)
    return (Interval(-_INF, value, high_open=kind is exp.LT),)


def _scaled(
    node: exp.Expr, negated: bool, of: exp.Expr, numbers: Numbers, constants: tuple[float, ...]
) -> NumberLiteral:
    """The literal on what stands in ``of`` without a constant factor and summand, so that ``2 * x > 10`` is about x."""
    numbers = intervals.others(numbers) if negated else numbers
    core, factor, summand = _linear(of)
    moved = [
        Interval((part.low - summand) / factor, (part.high - summand) / factor, part.low_open, part.high_open)
        for part in numbers
    ]
    if factor < 0:
        moved = [Interval(part.high, part.low, part.high_open, part.low_open) for part in reversed(moved)]
    values = tuple((constant - summand) / factor for constant in constants)
    return NumberLiteral(node, negated, _subject(core), tuple(moved), constants, values)


def _linear(node: exp.Expr) -> tuple[exp.Expr, float, float]:
    """(x, a, b) where the number is ``a * x + b``, a not zero."""
    if isinstance(node, exp.Paren):
        return _linear(node.this)
    if isinstance(node, exp.Neg):
        core, factor, summand = _linear(node.this)
        return core, -factor, -summand
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
        left, right = _constant(node.this), _constant(node.expression)
        if right is not None:
            core, factor, summand = _linear(node.this)
            if isinstance(node, exp.Add | exp.Sub):
                return core, factor, summand + (right if isinstance(node, exp.Add) else -right)
            if right:
                by = right if isinstance(node, exp.Mul) else 1 / right
                return core, factor * by, summand * by
        elif left is not None and not isinstance(node, exp.Div):
            core, factor, summand = _linear(node.expression)
            if isinstance(node, exp.Mul):
                return (core, factor * left, summand * left) if left else (node, 1.0, 0.0)
            return (core, factor, summand + left) if isinstance(node, exp.Add) else (core, -factor, left - summand)  # fmt: skip
    return node, 1.0, 0.0


def _subject(node: exp.Expr) -> Subject:
    while isinstance(node, exp.Paren):
        node = node.this
    known_with = _names(node)
    if isinstance(node, exp.Column):
        (name,) = known_with
        if name.startswith(PREFIX):
            return Subject(name, Range(-NUMBER_LIMIT, NUMBER_LIMIT), known_with)
        if name in _FIELD_RANGES:
            return Subject(name, _FIELD_RANGES[name], known_with)
        index = INDEX[name.removeprefix("features.")]
        return Subject(name, range_of(FEATURES[index]), known_with, index)
    found = _interval(node)
    return Subject(node.sql(comments=False).lower(), Range(found.low, found.high), known_with)


def _interval(node: exp.Expr) -> Interval:
    """Between which numbers a calculation stays."""
    value = _constant(node)
    if value is not None:
        return point(value)
    if isinstance(node, exp.Paren):
        return _interval(node.this)
    if isinstance(node, exp.Column):
        return intervals.of_range(_subject(node).range)
    if isinstance(node, exp.Neg):
        return intervals.negated(_interval(node.this))
    if isinstance(node, exp.Abs):
        return intervals.absolute(_interval(node.this))
    if isinstance(node, exp.Coalesce):
        return intervals.either(_interval(node.this), _interval(node.expressions[0]))
    left, right = _interval(node.this), _interval(node.expression)
    if isinstance(node, exp.Sub) and node.this.sql() == node.expression.sql():
        return point(0.0)
    if isinstance(node, exp.Mul):
        return intervals.multiplied(left, right)
    if isinstance(node, exp.Div):
        return intervals.divided(left, right)
    return intervals.added(left, right if isinstance(node, exp.Add) else intervals.negated(right))


def _constant(node: exp.Expr) -> float | None:
    return number("", node).constant if _is_number(node) else None


def _is_number(node: exp.Expr) -> bool:
    return not any(True for _ in node.find_all(exp.Column))


def names_in(node: exp.Expr) -> list[str]:
    """The fields, features and attributes that a condition reads, as it first names them: a feature with a field's name as
    ``features.NAME``, an attribute as ``attributes.NAME``."""
    columns = sorted(node.find_all(exp.Column), key=lambda column: column.this.meta.get("start", 0))
    return list(dict.fromkeys(map(_name, columns)))


def _name(node: exp.Expr) -> str:
    own = attribute_column(node)
    if own is not None:
        return PREFIX + own
    name = node.name.lower()
    is_field = not node.text("table") and (name in NUMBER_FIELDS | TEXT_FIELDS or name == "score")
    return name if is_field or name not in _SAME_NAME else f"features.{name}"


def _names(node: exp.Expr) -> frozenset[str]:
    """The fields and features without which a value is missing; those in ``coalesce`` are not."""
    if isinstance(node, exp.Coalesce):
        return frozenset()
    if isinstance(node, exp.Column):
        return frozenset({_name(node)})
    return frozenset().union(*(_names(child) for child in node.iter_expressions()))


#: features that share their name with a field
_SAME_NAME = frozenset(INDEX) & (NUMBER_FIELDS | TEXT_FIELDS)
