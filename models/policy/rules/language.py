"""The language of rules: SQL conditions, parsed by sqlglot; only the parts in ``PARTS`` are allowed.

There is no subquery, table, file, network, variable or cast. This module turns text into a tree; ``compiler`` checks its types
and compiles it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from features.attributes import PREFIX
from models.policy.problems import RuleRefused
from models.policy.rules.columns import TEXT_FIELDS

MAX_LENGTH = 2_000
MAX_DEPTH = 40
HELP = "see models/RULES.md for the language"

_TWO = frozenset({"this", "expression"})
#: every kind of node allowed, with the arguments that may be set on it
PARTS: dict[type[exp.Expr], frozenset[str]] = {
    **dict.fromkeys((exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is), _TWO),
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div), _TWO),
    **dict.fromkeys((exp.Not, exp.Paren, exp.Neg, exp.Abs), frozenset({"this"})),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Like: _TWO | {"negate"},
    exp.In: frozenset({"this", "expressions"}),
    exp.Coalesce: frozenset({"this", "expressions"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Null: frozenset(),
}  # fmt: skip

# the parser logs warnings for statements it does not know; they are refused here
logging.getLogger("sqlglot").setLevel(logging.ERROR)


def parse(rule: str, text: str) -> exp.Expr:
    """Parse one condition to a tree.

    Args:
        rule: the rule's name, for error messages.
        text: the condition, at most ``MAX_LENGTH`` characters and ``MAX_DEPTH`` levels.

    Raises:
        RuleRefused: it does not parse, is more than one condition, or uses a part that is not allowed.
    """
    node = read(rule, text)
    for error in outside(rule, node):
        raise error
    return node


def read(rule: str, text: str) -> exp.Expr:
    """``parse``, without looking at the parts.

    Raises:
        RuleRefused: it does not parse, or is more than one condition.
    """
    if len(text) > MAX_LENGTH:
        raise RuleRefused(
            f"rule {rule}: the condition has {len(text)} characters, more than {MAX_LENGTH}: split it"
        )
    try:
        found = sqlglot.parse(text)
    except SqlglotError as error:
        raise RuleRefused(f"rule {rule}: the condition does not parse: {_place(error)} ({HELP})") from None
    except RecursionError:
        raise RuleRefused(f"rule {rule}: the condition is nested too deeply: split it") from None
    if len(found) != 1 or found[0] is None:
        raise RuleRefused(f"rule {rule}: expected one condition, got {len([f for f in found if f])}")
    return found[0]


def refuse(rule: str, node: exp.Expr, why: str) -> RuleRefused:
    """An error that names the rule and the place in its condition."""
    at = next((n.meta["start"] for n in node.find_all(exp.Identifier) if "start" in n.meta), None)
    place = f" at character {at + 1}" if at is not None else ""
    return RuleRefused(f"rule {rule}{place}: `{_shown(node)}` {why}")


def text_field(node: exp.Expr, *beside: exp.Expr) -> str | None:
    """The text field that a node names; None if it is something else.

    What an attribute of one's own is (``attributes.NAME``) shows what stands ``beside`` it: with a text, it is one.
    """
    while isinstance(node, exp.Paren):
        node = node.this
    if (name := attribute_column(node)) is not None:
        texts = [other for other in beside if isinstance(other, exp.Literal) and other.is_string]
        return PREFIX + name if texts else None
    if isinstance(node, exp.Column) and not node.text("table") and node.name.lower() in TEXT_FIELDS:
        return node.name.lower()
    return None


def attribute_column(node: exp.Expr) -> str | None:
    """The name of the attribute of one's own that a node names; None if it is something else."""
    own = isinstance(node, exp.Column) and node.text("table").lower() + "." == PREFIX
    return node.name.lower() if own else None


def outside(rule: str, node: exp.Expr, depth: int = 0) -> Iterator[RuleRefused]:
    """An error for each part of a condition that is not allowed, and for too many levels."""
    if depth > MAX_DEPTH:
        yield RuleRefused(f"rule {rule}: the condition is nested deeper than {MAX_DEPTH} levels: split it")
        return
    allowed = PARTS.get(type(node))
    if allowed is None:
        yield refuse(rule, node, f"is not part of the language of rules ({HELP})")
        return
    for name, value in node.args.items():
        if value is None or value is False or value == []:
            continue
        if name not in allowed:
            yield refuse(rule, node, f"uses `{name}`, which rules do not have ({HELP})")
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, exp.Expr):
                yield from outside(rule, child, depth + 1)


def _shown(node: exp.Expr) -> str:
    try:
        text = node.sql(comments=False)
    except (SqlglotError, RecursionError):
        text = type(node).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _place(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0]
    first = details[0]
    return f"line {first.get('line')}, column {first.get('col')}: {first.get('description')}"
