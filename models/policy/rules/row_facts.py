"""What a row must be like for several literals to be true of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from features.catalogue import FEATURES, INDEX, WINDOWS
from models.policy.field_values import ENUMERATED, matches
from models.policy.rules.intervals import Numbers, common
from models.policy.rules.literals import (
    Literal,
    MissingLiteral,
    NumberLiteral,
    PatternLiteral,
    TextLiteral,
    subjects,
)

#: statistics of a card or customer that never shrink with a longer window
_GROWING = frozenset(
    f"{entity}_{statistic}" for entity in ("card", "customer")
    for statistic in ("count", "sum", "max", "merchants", "countries", "devices")
)  # fmt: skip


def growing_window(name: str) -> tuple[str, int] | None:
    """(statistic, seconds) of a feature that is never smaller in a longer window; None for others."""
    statistic, _, label = name.rpartition("_")
    if name not in INDEX or statistic not in _GROWING or label not in WINDOWS:
        return None
    return statistic, FEATURES[INDEX[name]].window_s


@dataclass(frozen=True)
class RowFacts:
    """``numbers``, ``texts``: what a subject may still be; ``excluded``: what it is not. ``literals``: all that were added."""

    numbers: dict[str, Numbers] = field(default_factory=dict)
    texts: dict[str, frozenset[str]] = field(default_factory=dict)
    excluded: dict[str, frozenset[str]] = field(default_factory=dict)
    patterns: dict[str, tuple[PatternLiteral, ...]] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    literals: tuple[Literal, ...] = ()

    def with_literal(self, literal: Literal) -> RowFacts | None:
        """The facts with one more; None if no row fits them."""
        about = subjects(literal)
        out = replace(self, literals=(*self.literals, literal))
        if isinstance(literal, MissingLiteral) and not literal.negated:
            out = replace(out, missing=self.missing | about)
        else:
            out = replace(out, present=self.present | about)
        if out.missing & out.present:
            return None
        if isinstance(literal, NumberLiteral):
            return out._with_numbers(literal)
        return out if isinstance(literal, MissingLiteral) else out._with_text(literal)

    def _with_numbers(self, literal: NumberLiteral) -> RowFacts | None:
        about = literal.subject
        left = common(self.numbers.get(about.key, about.numbers), literal.numbers, about.range.whole)
        out = replace(self, numbers={**self.numbers, about.key: left})
        return out if left and out._windows_fit(about.key) else None

    def _windows_fit(self, key: str) -> bool:
        """Whether what is known of a statistic in several windows can hold together."""
        of = growing_window(key)
        if of is None:
            return True
        for other, numbers in self.numbers.items():
            found = growing_window(other)
            if found is None or found[0] != of[0] or other == key:
                continue
            short, long = (self.numbers[key], numbers) if of[1] < found[1] else (numbers, self.numbers[key])
            if min(part.low for part in short) > max(part.high for part in long):
                return False
        return True

    def _with_text(self, literal: TextLiteral | PatternLiteral) -> RowFacts | None:
        name = literal.field
        if isinstance(literal, PatternLiteral):
            out = replace(self, patterns={**self.patterns, name: (*self.patterns.get(name, ()), literal)})
        elif literal.excludes:
            none = self.excluded.get(name, frozenset()) | literal.texts
            out = replace(self, excluded={**self.excluded, name: none})
        else:
            some = self.texts.get(name, literal.texts) & literal.texts
            out = replace(self, texts={**self.texts, name: some})
        return out if out._some_text_fits(name) else None

    def _some_text_fits(self, name: str) -> bool:
        allowed, patterns = self.texts.get(name, ENUMERATED.get(name)), self.patterns.get(name, ())
        if allowed is None:
            return not any(_contradict(one, other) for one in patterns for other in patterns)
        left = allowed - self.excluded.get(name, frozenset())
        return any(all(_fits(pattern, text) for pattern in patterns) for text in left)


def _fits(pattern: PatternLiteral, text: str) -> bool:
    return matches(pattern.core, pattern.begins, pattern.ends, text) != pattern.excludes


def _contradict(one: PatternLiteral, other: PatternLiteral) -> bool:
    """Whether no text fits both, as far as beginnings and ends say."""
    if one.excludes:
        return False
    if other.excludes:
        # every text that fits the one has the part that the other forbids
        anchored = (one.begins or not other.begins) and (one.ends or not other.ends)
        return anchored and matches(other.core, other.begins, other.ends, one.core)
    first = one.begins and other.begins and not _one_begins(one.core, other.core)
    return first or (one.ends and other.ends and not _one_begins(one.core[::-1], other.core[::-1]))


def _one_begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
