"""What was probably meant by a part of a condition that can never be; each function returns the end of a sentence, or nothing."""

from __future__ import annotations

from sqlglot import exp

from features.ranges import Range, shown
from models.policy.field_values import quoted
from models.policy.rules.literals import Joined, Literal, NumberLiteral, TextLiteral
from models.policy.rules.row_facts import RowFacts

#: features that start again after their highest value
_CYCLIC = {"hour": 24, "weekday": 7}
#: a range of whole numbers up to this wide is a set of codes, such as the hours
_CODES = 31


def is_code(values: Range) -> bool:
    """Whether numbers of this range are few and whole."""
    return values.whole and values.high - values.low <= _CODES


def by_number(literal: NumberLiteral) -> str:
    """For a literal whose numbers its subject cannot have."""
    name, node = literal.subject.key, literal.node
    if isinstance(node, exp.Between) and literal.constants[0] > literal.constants[1]:
        return _ask(_between(name, *literal.constants))
    if literal.values != literal.constants:
        return ""
    likely = [_likely(name, literal.subject.range, number) for number in literal.constants]
    numbers = [number for number in likely if number is not None]
    if len(numbers) != len(likely) or likely == list(literal.constants) or not numbers:
        return ""
    if isinstance(node, exp.Between):
        low, high = numbers
        # up to 24 o'clock is up to the end of hour 23
        return _ask(_between(name, low, high - 1 if name == "hour" and literal.constants[1] == 24 else high))
    return _ask(" and ".join(dict.fromkeys(map(shown, numbers))))


def by_pair(literal: Literal, other: Literal) -> str:
    """For two literals that exclude each other."""
    if (
        isinstance(literal, TextLiteral)
        and isinstance(other, TextLiteral)
        and not (literal.excludes or other.excludes)
    ):
        if literal.field == "tenant":
            # one of the two may be the rule's own tenants
            return ""
        texts = ", ".join(map(quoted, [*sorted(other.texts), *sorted(literal.texts)]))
        return _ask(f"{literal.field} IN ({texts})")
    if (
        isinstance(literal, NumberLiteral)
        and isinstance(other, NumberLiteral)
        and literal.subject == other.subject
    ):
        return _ask(f"{other.written.sql(comments=False)} OR {literal.written.sql(comments=False)}")
    return ""


def by_alternatives(tree: Joined | Literal) -> str:
    """For alternatives of which one is always true."""
    parts = tree.parts if isinstance(tree, Joined) and tree.by == "or" else ()
    texts = [part for part in parts if isinstance(part, TextLiteral) and part.excludes]
    if len(texts) > 1 and len({part.field for part in texts}) == 1:
        every = ", ".join(quoted(text) for part in texts for text in sorted(part.texts))
        return _ask(f"{texts[0].field} NOT IN ({every})")
    facts: RowFacts | None = RowFacts()
    for part in parts:
        facts = facts.with_literal(part) if facts and not isinstance(part, Joined) else None
    return _ask("AND") if parts and facts else ": to decide about all payments, set thresholds"


def _between(name: str, low: float, high: float) -> str:
    high = high % _CYCLIC[name] if name in _CYCLIC else high
    if low <= high:
        return f"{name} BETWEEN {shown(low)} AND {shown(high)}"
    if name in _CYCLIC:
        return f"{name} >= {shown(low)} OR {name} <= {shown(high)}"
    return f"{name} BETWEEN {shown(high)} AND {shown(low)}"


def _likely(name: str, values: Range, number: float) -> float | None:
    if values.low <= number <= values.high and (number.is_integer() or not values.whole):
        return number
    if name in _CYCLIC and number.is_integer() and 0 < number <= 2 * _CYCLIC[name]:
        # 24 o'clock is 0; the seventh day, counted from 1, is 6
        return number % 24 if name == "hour" else number - 1
    if (values.low, values.high, values.whole) == (0, 1, False) and 1 < number <= 100:
        return number / 100
    if name == "amount_minor" and number >= 0 and float(number * 100).is_integer():
        return number * 100
    return None


def _ask(what: str) -> str:
    return f"; did you mean {what}?"
