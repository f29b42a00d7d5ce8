"""All errors of one rule: parts that are outside the language, then parts that can never be."""

from __future__ import annotations

from sqlglot import exp

from models.policy.problems import PolicyError, error_of
from models.policy.rules.compiler import Meaning
from models.policy.rules.language import outside, read
from models.policy.rules.possible import impossible_parts, impossible_values
from models.policy.rules.rule import Rule


def rule_errors(rule: Rule) -> list[str]:
    """Every error in a rule's condition, each with its place; empty if there is none."""
    try:
        node = read(rule.name, rule.when)
    except PolicyError as refused:
        return [str(refused)]
    out = [str(error) for error in outside(rule.name, node)]
    meaning, values = Meaning(), []
    for part in _parts(node):
        if not any(outside(rule.name, part)):
            error = error_of(lambda part=part: meaning.compile_tree(rule.name, part))  # type: ignore[misc]
            out += [error] if error else []
            values += [] if error else impossible_values(rule.name, part)
    if not out:
        return [str(error) for error in impossible_parts(rule.name, node, rule.tenants)]
    # a condition that is no condition: of its other parts at least the values can be checked
    return list(dict.fromkeys([*out, *map(str, values)]))


def _parts(node: exp.Expr) -> list[exp.Expr]:
    """The comparisons of a condition, with the NOT before them."""
    out, left = [], [node]
    while left:
        node = left.pop()
        if isinstance(node, exp.Paren) or (isinstance(node, exp.Not) and isinstance(node.this, exp.Paren)):
            left.append(node.this)
        elif isinstance(node, exp.And | exp.Or):
            left += [node.expression, node.this]
        else:
            out.append(node)
    return out
