"""Which rows are no payments: refunds and credits that a column of kinds tells of, not the sign of the amount."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streams.mapping.suggestion.profile import Column

#: kinds of rows. What happened to a payment later (refunded, reversed) is a payment all the same
_REFUND = re.compile(
    r"\b(refund|reversal|void|storno|gutschrift|erstattung|r(ü|ue)ckerstattung|remboursement|avoir|reembolso|devoluci[oó]n|rimborso)s?\b"
)
#: columns that say whether money was taken or given, and their words for given; elsewhere "credit" is a kind of card
_DIRECTION = re.compile(
    r"direction|\bdr ?cr\b|\bcr ?dr\b|(debit|credit|dbit|crdt) ?(credit|debit|crdt|dbit)|\bdc\b|soll haben"
)
_TAKEN, _GIVEN = (
    {"d", "dr", "debit", "dbit", "s", "soll", "out"},
    {"c", "cr", "credit", "crdt", "h", "haben", "in"},
)
_MAX_KINDS = 50


@dataclass(frozen=True)
class SkipGuess:
    """``values`` of ``column`` are no payments; ``why``: the evidence."""

    column: str
    values: list[str]
    why: str


def guess_skips(columns: list[Column]) -> list[SkipGuess]:
    """Columns of few values, some of which name refunds or credits."""
    out = []
    for column in columns:
        if not 2 <= len(column.counts) <= _MAX_KINDS:
            continue
        words = {value: value.lower() for value in column.counts}
        values = [value for value, word in words.items() if _REFUND.search(word)]
        if _DIRECTION.search(column.words) and set(words.values()) <= _TAKEN | _GIVEN:
            values = [value for value, word in words.items() if word in _GIVEN]
        if values and len(values) < len(words):
            rows = sum(column.counts[value] for value in values)
            out.append(
                SkipGuess(column.name, values, f"{rows:,} rows that give money back seem to be no payments")
            )
    return out
