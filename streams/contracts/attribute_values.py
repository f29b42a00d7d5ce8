"""A transaction's ``attributes`` checked against what the stack declares: declared ones travel, others are ignored and counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import UNSET
from msgspec.structs import replace

from features.attributes import NUMBER_LIMIT, PREFIX, Attributes, aligned_values, canonical_text
from features.identifiers import MAX_LENGTH
from features.transaction import Transaction
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import MIN_DIGITS, find_card_number

REASON = "attribute"
#: texts that were looked at; most attributes have few different ones
_KEPT = 16_384
#: longer ones are too long in any form, and are not kept
_LOOKED_AT = 4 * MAX_LENGTH
_NUMBERS = {int, float, type(None)}
_TEXTS = {str, type(None)}
_NONE: dict[str, Any] = {}
#: whole numbers below have too few digits for a card number
_FEW_DIGITS = 10 ** (MIN_DIGITS - 1)


class Fitted(NamedTuple):
    """A transaction with the attributes that its tenant may send, and the number of others that it had."""

    transaction: Transaction
    undeclared: int


def with_fitting_attributes(tx: Transaction, attributes: Attributes) -> Fitted:
    """The transaction with its attributes in canonical form, without empty values. One without attributes stays as it is.

    Raises:
        InvalidEvent: ``attribute`` or ``card_number``, with the name of one that does not fit its declaration.
    """
    sent = tx.attributes
    if sent is UNSET:
        return Fitted(tx, 0)
    if not sent:
        return Fitted(replace(tx, attributes=UNSET), 0)
    fitting: dict[str, Any] = {}
    known = 0
    same = True
    name = ""
    try:
        for name, is_text in attributes.of(tx.tenant):
            value = sent.get(name)
            if value is None:
                known += name in sent
                continue
            known += 1
            found = _text(value) if is_text else _number(value)
            same = same and found is value
            if found != "":
                fitting[name] = found
    except InvalidEvent as error:
        # said without the value: it may be what must not be shown
        raise InvalidEvent(error.reason, PREFIX + name, f"{PREFIX}{name} {error}") from None
    if same and len(fitting) == len(sent):
        return Fitted(tx, 0)
    return Fitted(replace(tx, attributes=fitting or UNSET), len(sent) - known)


def unusual_rows(transactions: Sequence[Transaction], attributes: Attributes) -> list[int]:
    """Where ``with_fitting_attributes`` must look itself: it gives back all others as they are. Ten attributes cost a microsecond."""
    # nearly all chunks: without a look at each
    rows = [row for row, tx in enumerate(transactions) if tx.attributes is not UNSET]
    if not rows:
        return rows
    some = [transactions[row] for row in rows]
    tenants = {tx.tenant for tx in some}
    if len(tenants) > 1 and attributes.limited:
        return rows
    sent = [tx.attributes or _NONE for tx in some]
    aligned = aligned_values(sent)
    there = np.zeros(len(sent), dtype=np.int64)
    fit = np.ones(len(sent), dtype=np.bool_)
    numbers: list[Sequence[Any]] = []
    for name, is_text in attributes.of(some[0].tenant):
        if aligned is not None and name not in aligned:
            continue
        values = [each.get(name) for each in sent] if aligned is None else aligned[name]
        if not is_text:
            numbers.append(values)
        elif not _look_at_texts(values, there, fit):
            return rows
    if numbers and not _look_at_numbers(numbers, there, fit):
        return rows
    # others, or only empty ones
    fit &= (there == np.fromiter(map(len, sent), np.int64, len(sent))) & (there > 0)
    return [row for row, good in zip(rows, fit.tolist(), strict=True) if not good]


def _look_at_texts(values: Sequence[Any], there: npt.NDArray[np.int64], fit: npt.NDArray[np.bool_]) -> bool:
    """Add the values (n,) that are there to ``there``, take those that do not stay as they are from ``fit``. False: not all are texts."""
    try:
        different = set(values)
    except TypeError:
        return False
    if not set(map(type, different)) <= _TEXTS:
        return False
    odd = {value for value in different if value is not None and not _is_usual(value)}
    if odd:
        fit &= [value not in odd for value in values]
    there += [value is not None for value in values] if None in different else 1
    return True


def _is_usual(text: str) -> bool:
    try:
        return _text(text) is text and text != ""
    except InvalidEvent:
        return False


def _look_at_numbers(
    columns: list[Sequence[Any]], there: npt.NDArray[np.int64], fit: npt.NDArray[np.bool_]
) -> bool:
    """As ``_look_at_texts``, for several attributes at once."""
    together = set().union(*(map(type, values) for values in columns))
    if not together <= _NUMBERS:
        return False
    try:
        block = np.array(columns, dtype=np.float64)
    except OverflowError:
        return False
    # with fewer digits than a card number
    small = np.abs(block) < _FEW_DIGITS
    known = ~np.isnan(block) if type(None) in together else np.ones_like(small)
    fit &= (small | ~known).all(axis=0)
    there += known.sum(axis=0)
    return True


def _text(value: Any) -> str:
    """Raises: InvalidEvent, without the name."""
    if type(value) is not str:
        raise InvalidEvent(REASON, "", f"is declared a text, not {_kind(value)}")
    if len(value) > _LOOKED_AT:
        raise InvalidEvent(REASON, "", f"has more than {MAX_LENGTH} characters")
    found = _canonical(value)
    # the same object says that nothing was changed
    return value if found == value else found


@lru_cache(_KEPT)
def _canonical(text: str) -> str:
    try:
        found = canonical_text(text)
    except ValueError as error:
        raise InvalidEvent(REASON, "", str(error)) from None
    _refuse_card_number(found)
    return found


def _number(value: Any) -> int | float:
    """Raises: InvalidEvent, without the name."""
    kind = type(value)
    if kind is not int and kind is not float:
        raise InvalidEvent(REASON, "", f"is declared a number, not {_kind(value)}")
    # not-a-number is not between them either
    if not -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
        raise InvalidEvent(REASON, "", "is not between -1e15 and 1e15")
    if value % 1 == 0 and not -_FEW_DIGITS < value < _FEW_DIGITS:
        _refuse_card_number(f"{abs(value):.0f}")
    number: int | float = value
    return number


def _refuse_card_number(text: str) -> None:
    if find_card_number(text):
        raise InvalidEvent("card_number", "", "holds a card number; send a token in its place")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "a text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return kinds.get(type(value), "something else")
