"""Finds what can never be in a condition: values that no field has, parts that exclude each other, parts that are always true.

Such a condition is valid SQL, and silent: its rule would never match, or always. What is found is certain; not everything is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlglot import exp

from features.ranges import shown
from models.policy.field_values import fault, pattern_fault, quoted, told
from models.policy.problems import RuleRefused
from models.policy.rules import meant
from models.policy.rules.intervals import common, point
from models.policy.rules.language import refuse
from models.policy.rules.literals import (
    Joined,
    Literal,
    MissingLiteral,
    NumberLiteral,
    PatternLiteral,
    TextLiteral,
    Tree,
    always_known,
    leaves,
    literals_of,
    subjects,
)
from models.policy.rules.row_facts import RowFacts, growing_window

#: combinations of parts that are tried; a condition with more counts as possible
_MAX_TRIES = 2_000


def impossible_parts(rule: str, node: exp.Expr, tenants: Iterable[str] = ()) -> list[RuleRefused]:
    """Everything in a compiled condition that can never be; ``tenants``: the only ones that the rule holds for (none: all)."""
    found = impossible_values(rule, node)
    if found:
        # what excludes what is only worth saying of parts that are possible themselves
        return found
    tree = literals_of(node)
    facts = RowFacts()
    if wanted := frozenset(tenants):
        tenant = TextLiteral(exp.column("tenant").isin(*sorted(wanted)), False, "tenant", wanted)
        facts = facts.with_literal(tenant) or facts
    found = [refuse(rule, at, why) for at, why in _exclusions(tree, facts)[0]]
    if not found and not _possible([tree], facts, [_MAX_TRIES]):
        found = [refuse(rule, node, "is never true: no payment fits all of its parts together")]
    if not found:
        found = [refuse(rule, at, why) for at, why in _always(tree)]
    return found


def impossible_values(rule: str, node: exp.Expr) -> list[RuleRefused]:
    """The comparisons of a compiled condition with values that no payment has."""
    literals = leaves(literals_of(node))
    return [refuse(rule, literal.written, why) for literal in literals if (why := _literal_fault(literal))]


def _literal_fault(literal: Literal) -> str | None:
    """Why a literal is always or never true by itself; None if it is neither."""
    if isinstance(literal, NumberLiteral):
        return _number_fault(literal)
    if isinstance(literal, MissingLiteral):
        names = sorted(name for name in literal.names if always_known(name))
        if len(names) == len(literal.names) and names and not literal.negated:
            return f"is never true: every payment has {' and '.join(names)}"
        return None
    if isinstance(literal, PatternLiteral):
        found = pattern_fault(literal.field, literal.core, literal.begins, literal.ends)
        return f"is {_word(literal)} true: {found}" if found else None
    faults = {text: what for text in sorted(literal.texts) if (what := fault(literal.field, text))}
    if not faults:
        return None
    if len(faults) == len(literal.texts):
        return f"is {_word(literal)} true: {told(faults.values())}"
    return f"names {', '.join(map(quoted, faults))}, but {told(faults.values())}"


def _number_fault(literal: NumberLiteral) -> str | None:
    about, whole = literal.subject, literal.subject.range.whole
    if isinstance(literal.node, exp.Between) and list(literal.constants) != sorted(literal.constants):
        low, high = map(shown, literal.constants)
        return f"is {'always' if literal.negated else 'never'} true: {low} is more than {high}{meant.by_number(literal)}"
    said = f"{about.key} is {about.range}{meant.by_number(literal)}"
    if not common(about.numbers, literal.numbers, whole):
        return f"is never true: {said}"
    listed = isinstance(literal.node, exp.EQ | exp.NEQ | exp.In)
    if not listed and not (isinstance(literal.node, exp.Between) and meant.is_code(about.range)):
        # a comparison that always holds, such as hour >= 0, is a natural part of a range
        return _windows_in_order(literal)
    outside = [
        constant for constant, value in zip(literal.constants, literal.values, strict=True)
        if not common(about.numbers, (point(value),), whole)
    ]  # fmt: skip
    if not outside:
        return None
    if listed and len(outside) == len(literal.constants):
        return f"is always true: {said}"
    return f"names {', '.join(map(shown, outside))}, but {said}"


def _windows_in_order(literal: NumberLiteral) -> str | None:
    """The fault of a comparison that wants more of a shorter window than of a longer one that contains it."""
    node = literal.node
    if literal.negated or not isinstance(node, exp.GT | exp.LT):
        return None
    more, less = (node.this, node.expression) if isinstance(node, exp.GT) else (node.expression, node.this)
    if not (isinstance(more, exp.Column) and isinstance(less, exp.Column)):
        return None
    short, long = growing_window(more.name.lower()), growing_window(less.name.lower())
    if short is None or long is None or short[0] != long[0] or short[1] > long[1]:
        return None
    return f"is never true: the window of {less.name.lower()} contains that of {more.name.lower()}"


def _word(literal: TextLiteral | PatternLiteral) -> str:
    return "always" if literal.excludes else "never"


def _exclusions(tree: Tree, facts: RowFacts) -> tuple[list[tuple[exp.Expr, str]], RowFacts]:
    """Parts that cannot be true together with what must be true around them; and the facts with those of the tree itself."""
    if not isinstance(tree, Joined):
        after = facts.with_literal(tree)
        return ([], after) if after else ([(tree.written, _excluded_by(tree, facts))], facts)
    found: list[tuple[exp.Expr, str]] = []
    # the facts of all single parts hold in each alternative beside them
    for part in sorted(tree.parts, key=lambda part: isinstance(part, Joined)):
        more, after = _exclusions(part, facts)
        found += more
        if tree.by == "and":
            facts = after
    return found, facts


def _excluded_by(literal: Literal, facts: RowFacts) -> str:
    for other in facts.literals:
        alone = RowFacts().with_literal(other)
        if alone is not None and alone.with_literal(literal) is None:
            shown = other.written.sql(comments=False)
            return f"is never true together with `{shown}`{meant.by_pair(literal, other)}"
    return "is never true together with the parts before it"


def _possible(trees: list[Tree], facts: RowFacts, tries: list[int]) -> bool:
    """Whether some row may fit all of the trees; True as well once all ``tries`` are used up."""
    tries[0] -= 1
    if tries[0] <= 0:
        return True
    alternatives: list[Joined] = []
    left = list(trees)
    while left:
        tree = left.pop()
        if not isinstance(tree, Joined):
            after = facts.with_literal(tree)
            if after is None:
                return False
            facts = after
        elif tree.by == "and":
            left += tree.parts
        else:
            alternatives.append(tree)
    if not alternatives:
        return True
    first, *rest = alternatives
    return any(_possible([part, *rest], facts, tries) for part in first.parts)


def _always(tree: Tree) -> Iterator[tuple[exp.Expr, str]]:
    """ORs, and the condition as a whole, that are true of every payment whose fields are known."""
    alternatives = [part for part in _joined(tree) if part.by == "or"]
    for part in [tree, *alternatives]:
        if isinstance(part, MissingLiteral) or _possible([_opposite(part)], RowFacts(), [_MAX_TRIES]):
            continue
        names = sorted(frozenset[str]().union(*(subjects(literal) for literal in leaves(part))))
        optional = [name for name in names if not always_known(name)]
        where = f" where {' and '.join(optional)} is known" if optional else ""
        yield part.node, f"is always true{where}{meant.by_alternatives(part)}"
        return


def _joined(tree: Tree) -> Iterator[Joined]:
    if isinstance(tree, Joined):
        yield tree
        for part in tree.parts:
            yield from _joined(part)


def _opposite(tree: Tree) -> Tree:
    if not isinstance(tree, Joined):
        return literals_of(tree.node, negated=not tree.negated)
    return Joined(tree.node, "or" if tree.by == "and" else "and", tuple(map(_opposite, tree.parts)))
