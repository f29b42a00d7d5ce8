"""Attributes of one's own in rules and lists: how each is used, and whether that fits what the stack declares."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from sqlglot import exp

from features.attributes import PREFIX, Attributes, Kind, attribute_named
from models.policy.lists import PolicyList
from models.policy.problems import PolicyError
from models.policy.rules.language import attribute_column, read, refuse, text_field
from models.policy.rules.rule import Rule


def uses(node: exp.Expr) -> Iterator[tuple[exp.Column, Kind | None]]:
    """Each attribute that a condition names, with the type that it is used as; None where either would do (IS NULL)."""
    for column in node.find_all(exp.Column):
        if attribute_column(column) is None:
            continue
        parent = column.parent
        while isinstance(parent, exp.Paren):
            parent = parent.parent
        if isinstance(parent, exp.Is):
            yield column, None
            continue
        beside = list(parent.iter_expressions()) if parent is not None else []
        is_text = isinstance(parent, exp.EQ | exp.NEQ | exp.In | exp.Like) and text_field(column, *beside)
        yield column, "text" if is_text else "number"


def attribute_errors(rules: Iterable[Rule], lists: Iterable[PolicyList], attributes: Attributes) -> list[str]:
    """What rules and lists say of attributes that a stack does not declare, or declares with another type."""
    out = []
    for rule in rules:
        try:
            node = read(rule.name, rule.when)
        except PolicyError:
            # said where conditions are checked
            continue
        for column, kind in uses(node):
            why = _misfit(str(attribute_column(column)), kind, attributes)
            out += [str(refuse(rule.name, column, why))] if why else []
    for found in lists:
        name = attribute_named(found.field)
        why = _misfit(name, "text", attributes) if name is not None else None
        out += [f"list {found.name}: `{found.field}` {why}"] if why else []
    return out


def _misfit(name: str, kind: Kind | None, attributes: Attributes) -> str | None:
    declared = attributes.type_of(name)
    if declared is None:
        close = difflib.get_close_matches(name, attributes.declared, 1)
        hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
        return f"is not declared under [attributes] in the stack's settings.toml{hint}"
    if kind in (None, declared):
        return None
    used = {"text": "compared with texts", "number": "compared or calculated with numbers"}[kind or declared]
    return f"is {used}, and settings.toml declares it a {declared}"
