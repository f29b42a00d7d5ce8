"""Identifiers and codes: which column is the card, the merchant, the label and so on. Names propose, values decide."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from features.transaction import CHANNELS
from streams.contracts.text.card_numbers import find_card_number
from streams.mapping.fields.labels import ANY, EMPTY, canonical
from streams.mapping.suggestion.profile import Column
from streams.mapping.suggestion.toml import quoted

_ENOUGH = 0.9
#: of a column in which only frauds have a date
_SELDOM = 0.4
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{8}\b")
#: names that speak of a card or merchant without naming one
_NO_PARTY = re.compile(
    r"type|brand|network|present|country|balance|category|city|state|zip|bank$|\bdate\b|\btime\b|chip|\blat|\blong|"
    r"\b(first|last|user|holder|customer) ?name\b|"
    r"\b(age|os|model|score|count|income|velocity|days|months|limit|status|segment|verified)\b"
)
_FRAUD = (
    "1",
    "y",
    "yes",
    "t",
    "ja",
    "j",
    "oui",
    "vrai",
    "wahr",
    "verdadero",
    "x",
    "si",
    "sí",
    "sim",
    "fraud",
    "fraudulent",
    "confirmed fraud",
    "fraud confirmed",
    "true fraud",
    "chargeback",
    "scam",
)
_HONEST = (
    "0",
    "n",
    "no",
    "f",
    "nein",
    "non",
    "faux",
    "falsch",
    "falso",
    "não",
    "legit",
    "legitimate",
    "genuine",
    "honest",
    "normal",
    "ok",
    "not fraud",
    "not fraudulent",
    "non fraud",
    "no fraud",
    "clean",
    "good",
)
_CHANNEL_WORDS = (
    ("ecom", re.compile(r"online|\bweb\b|e-?com|internet|\bcnp\b|\bnet\b|_net$|mobile|app\b")),
    ("atm", re.compile(r"\batm\b|cash|withdraw")),
    ("transfer", re.compile(r"transfer|wire|\bach\b|sepa|cheque|debit$|iban")),
    ("moto", re.compile(r"moto|mail|phone")),
    (
        "pos",
        re.compile(r"\bpos\b|_pos$|chip|swipe|contactless|\bcp\b|in-?store|payment|purchase|credit card"),
    ),
)


@dataclass(frozen=True)
class Guess:
    """A field's rule: columns and options as TOML, and the evidence."""

    columns: list[str]
    options: dict[str, str]
    why: str


def by_name(
    columns: list[Column],
    patterns: list[str],
    fits: Callable[[Column], bool],
    avoid: re.Pattern[str] | None = None,
) -> Column | None:
    """The first column that fits, in the order of the patterns that its name matches."""
    for pattern in patterns:
        for column in columns:
            if (
                re.search(pattern, column.words)
                and not (avoid and avoid.search(column.words))
                and fits(column)
            ):
                return column
    return None


def guess_identifier(columns: list[Column], patterns: list[str], unique: bool = False) -> Guess | None:
    """An identifier: nearly always there, 64 characters at most; card numbers are tokenised."""

    def fits(column: Column) -> bool:
        long = column.share(lambda text: len(text) > 64)
        return column.full and not long and (column.unique if unique else True)

    found = by_name(columns, patterns, fits, _NO_PARTY)
    if found is None:
        return None
    why = f"its name; {len(found.counts):,} different values in {found.rows:,} rows"
    cards = found.share(lambda text: find_card_number(text) is not None)
    if cards:
        return Guess(
            [found.name],
            {"tokenise": "true"},
            f"{why}, and {cards:.0%} of them are card numbers, so they are tokenised",
        )
    return Guess([found.name], {}, f"{why}, such as {next(iter(found.counts))!r}")


def guess_code(columns: list[Column], patterns: list[str], form: str) -> Guess | None:
    """A code whose every value has one form, such as two letters for a country."""
    found = by_name(
        columns, patterns, lambda c: c.share(lambda text: bool(re.fullmatch(form, text))) > _ENOUGH
    )
    if found is None:
        return None
    return Guess([found.name], {}, f"its name, and values such as {next(iter(found.counts))!r}")


def guess_ip(columns: list[Column]) -> Guess | None:
    """A column of IP addresses, whatever its name."""
    found = next((c for c in columns if c.share(_is_ip) > _ENOUGH), None)
    if found is None:
        return None
    return Guess([found.name], {}, f"IP addresses, such as {next(iter(found.counts))!r}")


def guess_channel(columns: list[Column]) -> Guess | None:
    """A column whose few values name channels."""
    for column in columns:
        values = list(column.counts)
        if not 1 <= len(values) <= 20 or not re.search(
            r"channel|type|mode|method|entry|format|chip|kind", column.words
        ):
            continue
        if set(values) <= set(CHANNELS):
            return Guess([column.name], {}, f"its values are channels: {', '.join(values)}")
        known = {value: kind for value in values if (kind := _channel(value))}
        if len(known) > len(values) / 2:
            pairs = ", ".join(f"{quoted(value)} = {quoted(kind)}" for value, kind in known.items())
            left = [value for value in values if value not in known]
            rest = f"; without a channel: {', '.join(left)}" if left else ""
            return Guess([column.name], {"map": f"{{ {pairs} }}"}, f"its values name channels{rest}")
    return None


@dataclass(frozen=True)
class LabelGuess:
    """``fraud`` and ``honest``: values as TOML; ``means_fraud``: as they stand in the file."""

    column: str
    fraud: str
    honest: str
    why: str
    means_fraud: list[str]


def guess_label(columns: list[Column]) -> LabelGuess | None:
    """A column of few values whose name or values say fraud."""
    for pattern in (
        r"(fraud|betrug)(?!.*(scenario|flagged|type))",
        r"launder|chargeback|\bdisputed?\b|\bcbk\b|\bscam\b|\bbad\b",
        r"^(class|label|target)$",
    ):
        for column in columns:
            if not re.search(pattern, column.words) or "flagged" in column.words:
                continue
            found = _date_of_fraud(column) or (_fraud_among(column) if len(column.counts) <= 10 else None)
            if found is not None:
                return found
    return None


def _date_of_fraud(column: Column) -> LabelGuess | None:
    """Few rows have a value: the date on which the fraud was known."""
    values = list(column.counts)
    if not 0 < len(column.texts) <= _SELDOM * column.rows or column.share(lambda t: bool(_DATE.match(t))) < 1:
        return None
    why = f"its name; {len(values):,} dates in {column.rows:,} rows, such as {values[0]!r}: empty cells seem to be honest"
    return LabelGuess(column.name, quoted(ANY), quoted(EMPTY), why, values)


def _fraud_among(column: Column) -> LabelGuess | None:
    values = [value for value, _ in column.counts.most_common()]
    fraud = [v for v in values if re.sub(r"[-_ ]+", " ", canonical(v)) in _FRAUD]
    if not fraud:
        return None
    others = [v for v in values if v not in fraud]
    honest = [v for v in others if re.sub(r"[-_ ]+", " ", canonical(v)) in _HONEST]
    counts = ", ".join(f"{value!r} {count:,} times" for value, count in column.counts.most_common())
    return LabelGuess(
        column.name, _scalars(fraud), _scalars(honest or ["0"]), f"its name, and its values: {counts}", fraud
    )


def _scalars(values: list[str]) -> str:
    plain = [v if re.fullmatch(r"0|[1-9]\d{0,9}", v) else quoted(v) for v in values]
    return plain[0] if len(plain) == 1 else "[" + ", ".join(plain) + "]"


def _channel(value: str) -> str | None:
    text = value.lower()
    return next((name for name, pattern in _CHANNEL_WORDS if pattern.search(text)), None)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "." in text or ":" in text
