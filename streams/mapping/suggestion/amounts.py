"""Which column is the amount, how it is written, and in which currency."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.currencies import DECIMALS
from streams.mapping.fields.numbers import Notation, read_numbers
from streams.mapping.suggestion.profile import Column

_NAME = re.compile(
    r"amount|\bamt\b|\bvalue\b|betrag|montant|importe|valor|bedrag|price|\btotal\b|\bsum\b|\bpaid\b|spend|umsatz|gross"
)
_NOT = re.compile(
    r"balance|count|number|\bid\b|\bavg\b|mean|ratio|tax|fee|\bold\b|\bnew\b|received|bin$|date"
)
_MINOR = re.compile(r"minor|cents?\b|pence|pennies")
NOTATIONS = (Notation(".", ""), Notation(".", ","), Notation(",", "."), Notation(",", " "), Notation(".", "'"), Notation(",", ""), Notation(".", " "))  # fmt: skip
_SIGNS = {
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "R$": "BRL",
    "₩": "KRW",
    "₺": "TRY",
    "₽": "RUB",
}
_ENOUGH = 0.95


@dataclass(frozen=True)
class AmountGuess:
    """``options``: of the rule, as TOML; ``sign``: the currency that a sign beside the numbers names, if any."""

    column: str
    options: dict[str, str]
    sign: str | None
    why: str


def guess_amount(columns: list[Column]) -> AmountGuess | None:
    """The column that is most likely the amount; None if there is none."""
    named = [c for c in columns if _NAME.search(c.words) and not _NOT.search(c.words)]
    signed = [
        c for c in columns if c not in named and c.share(lambda t: bool(re.search(r"[$€£¥₹]", t))) > _ENOUGH
    ]
    for column in [*sorted(named, key=lambda c: not re.search(r"paid|amount|amt", c.words)), *signed]:
        found = _as_amount(column) if column.full else None
        if found is not None:
            return found
    decimals = [
        c
        for c in columns
        if c.full
        and not _NOT.search(c.words)
        and c.share(lambda t: bool(re.fullmatch(r"-?\d+[.,]\d{1,2}", t))) > _ENOUGH
    ]
    return _as_amount(decimals[0]) if len(decimals) == 1 else None


def guess_currency(columns: list[Column]) -> Column | None:
    """The column that holds ISO 4217 codes; where its name says so, it may hold others too. None if there is none."""

    def holds_codes(column: Column) -> bool:
        named = re.search(r"curr|w(ä|ae)hrung|devise|moneda|\bccy\b|valuta", column.words)
        return column.share(lambda text: text.upper() in DECIMALS) >= (0.5 if named else _ENOUGH)

    found = [c for c in columns if c.full and len(c.counts) < 200 and holds_codes(c)]
    return min(found, key=lambda c: "curr" not in c.words, default=None)


def _as_amount(column: Column) -> AmountGuess | None:
    texts = list(column.counts)[:2_000]
    for style in NOTATIONS:
        numbers = read_numbers(pa.array(texts, pa.string()), style)
        if 1 - numbers.unread.mean() >= _ENOUGH:
            break
    else:
        return None
    options: dict[str, str] = {}
    if style.decimal != ".":
        options["decimal"] = '","'
    if style.thousands:
        options["thousands"] = f'"{style.thousands}"'
    why = f"its name, and {len(texts):,} different numbers with {style}, such as {texts[0]!r}"
    if _MINOR.search(column.words):
        options["exponent"] = "0"
        why += "; the name says that they are minor units already"
    values = numbers.values[np.isfinite(numbers.values)]
    negative = float((values < 0).mean())
    if negative > 0.5:
        options["payments"] = '"negative"'
        why += f"; {negative:.0%} are negative, so payments seem to be"
    if 0 < negative < 1:
        options["refunds"] = '"skip"'
        why += "; those of the other sign are left out as refunds"
    if _MINOR.search(column.words) is None and _has_fractions(values):
        why += "; some have more than two decimals"
        # of amounts that rounding would change much, such as 0.0005, a person must say what they are
        if (np.abs(np.rint(values * 100) - values * 100) <= 0.01 * np.abs(values * 100)).mean() >= _ENOUGH:
            options["round"] = '"half_even"'
    units = [] if numbers.unit is None else [unit for unit in numbers.unit.unique().to_pylist() if unit]
    sign = units[0] if len(units) == 1 else None
    return AmountGuess(column.name, options, _SIGNS.get(sign or "", sign if sign in DECIMALS else None), why)


def _has_fractions(values: np.ndarray) -> bool:
    return bool((np.abs(values * 100 - np.rint(values * 100)) > 1e-6).any())
