"""Columns that are no field of the contract as attributes: those that settings declare, and those that tell fraud from honest rows."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import MAX_ATTRIBUTES, NUMBER_LIMIT, Attributes, Kind, canonical_text
from streams.contracts.text.card_numbers import find_card_number
from streams.mapping.fields.converted import Mask
from streams.mapping.fields.numbers import Notation, read_numbers
from streams.mapping.fields.text import as_text
from streams.mapping.suggestion.amounts import NOTATIONS
from streams.mapping.suggestion.profile import Column
from streams.mapping.suggestion.toml import quoted

#: what tells the outcome is no signal: nobody knows it when a payment is made
_OUTCOME = re.compile(r"fraud|betrug|flagged|chargeback|dispute|launder|\b(label|target|class|outcome)\b")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
#: texts with more values are names, not signals
_MAX_TEXTS = 50
_MIN_FRAUDS = 10
#: standard deviations of chi-squared above its mean, below which a column says nothing
_TELLING = 6.0
_BINS = 10
#: a group of rows whose fraud rate is named has so many
_NAMED_ROWS = 30


@dataclass(frozen=True)
class AttributeGuess:
    """``options``: of the rule, as TOML; ``tells``: how surely it tells fraud from honest rows, 0 where that is not known."""

    name: str
    column: str
    kind: Kind
    options: dict[str, str]
    why: str
    tells: float = 0.0


class Further(NamedTuple):
    """Attributes that nobody declared, the most telling first; ``measured``: whether by the file's labels; ``left_out``: columns
    that seem to tell the outcome."""

    guesses: list[AttributeGuess]
    measured: bool
    left_out: list[str]


def declared_attributes(columns: list[Column], declared: Attributes) -> list[AttributeGuess]:
    """For each declared attribute the column of its name and type, if there is one; no column is taken twice."""
    out: list[AttributeGuess] = []
    used: set[str] = set()
    for exactly in (True, False):
        for name, attribute in declared.declared.items():
            if any(guess.name == name for guess in out):
                continue
            free = [column for column in columns if column.name not in used]
            found = [column for column in free if _named(column, name, exactly)]
            guesses = [guess for column in found if (guess := _as_attribute(name, column, attribute.type))]
            if len(guesses) == 1:
                used.add(guesses[0].column)
                fits = "its name" if exactly else "a part of its name"
                out.append(replace(guesses[0], why=f"{fits}, and {guesses[0].why}"))
    order = list(declared.declared)
    return sorted(out, key=lambda guess: order.index(guess.name))


def further_attributes(columns: list[Column], fraud: Mask | None, taken: int, names: set[str]) -> Further:
    """Attributes that could be declared.

    Args:
        fraud: which rows are fraud, shape (rows,); None without labels.
        taken: so many attributes are declared already.
        names: those that they have.
    """
    left_out = [column.name for column in columns if _OUTCOME.search(column.words)]
    measured = fraud is not None and _MIN_FRAUDS <= fraud.sum() < len(fraud)
    found: list[AttributeGuess] = []
    for column in columns:
        if column.name in left_out or len(column.counts) < 2 or _is_time_or_place_in_file(column):
            continue
        name = _name_for(column, names | {guess.name for guess in found})
        guess = _as_attribute(name, column, "number") or _as_attribute(name, column, "text")
        if guess is None or (guess.kind == "text" and len(column.counts) > _MAX_TEXTS):
            continue
        if fraud is None or not measured:
            found.append(guess)
        elif (told := _told(column, guess, fraud)) is not None:
            found.append(told)
    found.sort(key=lambda guess: -guess.tells)
    return Further(found[: max(0, MAX_ATTRIBUTES - taken)], measured, left_out)


def _named(column: Column, name: str, exactly: bool) -> bool:
    wanted, there = name.split("_"), column.words.split()
    if exactly:
        return "".join(wanted) == "".join(there)
    return bool(there) and (set(there) <= set(wanted) or set(wanted) <= set(there))


def _is_time_or_place_in_file(column: Column) -> bool:
    """Dates and row numbers tell when a payment was made, not what it is."""
    if pa.types.is_temporal(column.cells.type) or column.share(lambda text: bool(_DATE.match(text))) == 1:
        return True
    if not column.unique or not all(re.fullmatch(r"\d{1,18}", text) for text in column.texts):
        return False
    return bool((np.diff([int(text) for text in column.texts]) == 1).all())


def _name_for(column: Column, taken: set[str]) -> str:
    """A name as settings want it, from the column's."""
    plain = unicodedata.normalize("NFKD", column.words).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    name = (name if re.match("[a-z]", name) else f"column_{name}")[:32].rstrip("_")
    number = 1
    while name in taken:
        number += 1
        name = f"{name.rsplit('__', 1)[0][:28]}__{number}"
    return name


def _as_attribute(name: str, column: Column, kind: Kind) -> AttributeGuess | None:
    """The rule for a column; None if a single one of its values would not fit: its row would be refused."""
    texts = list(column.counts)
    if not texts:
        return None
    if kind == "number":
        style = _notation(column)
        if style is None:
            return None
        options = {"type": '"number"'}
        if style.decimal != ".":
            options["decimal"] = '","'
        if style.thousands:
            options["thousands"] = quoted(style.thousands)
        why = f"numbers, such as {', '.join(texts[:2])}"
        return AttributeGuess(name, column.name, kind, options, why)
    if not all(map(_is_text, texts)):
        return None
    shown = ", ".join(repr(text) for text, _ in column.counts.most_common(3))
    return AttributeGuess(name, column.name, kind, {}, f"{len(texts):,} different texts, such as {shown}")


def _notation(column: Column) -> Notation | None:
    """How all values of a column are written as numbers; None if one is none. A code with leading zeros is a text."""
    texts = list(column.counts)
    if any(re.fullmatch(r"0\d+", text) or find_card_number(text) for text in texts):
        return None
    if pa.types.is_boolean(column.cells.type):
        return NOTATIONS[0]
    for style in NOTATIONS:
        numbers = read_numbers(pa.array(texts, pa.string()), style)
        if not numbers.unread.any() and bool((np.abs(numbers.values) <= NUMBER_LIMIT).all()):
            return style
    return None


def _is_text(text: str) -> bool:
    try:
        canonical_text(text)
    except ValueError:
        return False
    return find_card_number(text) is None


def _told(column: Column, guess: AttributeGuess, fraud: Mask) -> AttributeGuess | None:
    """The guess with what it says of fraud; None if that may be chance: chi-squared of its groups of rows."""
    groups, names = _groups(column, guess)
    rows = np.bincount(groups, minlength=len(names))
    frauds = np.bincount(groups[fraud], minlength=len(names))
    share = frauds.sum() / rows.sum()
    # groups in which no fraud is expected are one
    small = rows * share < 1
    seen = np.append(rows[~small], rows[small].sum()), np.append(frauds[~small], frauds[small].sum())
    many, bad = (each[seen[0] > 0] for each in seen)
    if len(many) < 2:
        return None
    chi = float(((bad - many * share) ** 2 / (many * share * (1 - share))).sum())
    freedom = len(many) - 1
    tells = (chi - freedom) / np.sqrt(2 * freedom)
    if tells < _TELLING:
        return None
    enough = rows >= _NAMED_ROWS
    worst = int(np.argmax(np.where(enough, frauds / np.maximum(rows, 1), -1)))
    rate = frauds[worst] / rows[worst]
    why = f"{guess.why}; {rate:.1%} of the rows are fraud where it is {names[worst]}, {share:.2%} of all"
    return replace(guess, why=why, tells=float(tells))


def _groups(column: Column, guess: AttributeGuess) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The group of each row (n,), and the groups in words: texts, or tenths of the numbers; rows without a value are one."""
    if guess.kind == "text":
        encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(as_text(column.cells)))
        names = [repr(text) for text in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(names)).to_numpy()
        return indices.astype(np.int64), [*names, "absent"]
    cells = column.cells.cast(pa.int8()) if pa.types.is_boolean(column.cells.type) else column.cells
    style = Notation("," if "decimal" in guess.options else ".", guess.options.get("thousands", '""')[1:-1])
    values = read_numbers(cells, style).values
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS))
    places = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), len(edges) + 1)
    names = [f"up to {edges[0]:g}", *(f"over {edge:g}" for edge in edges), "absent"]
    return places.astype(np.int64), names
