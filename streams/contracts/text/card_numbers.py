"""Card numbers (PAN) in text: find them however they are spelled, and mask them before text is logged, stored or sent on.

A card number has the prefix of a known issuer, a length of that issuer, and a valid check digit. The check digit alone makes one in ten
numbers of 13 to 19 digits a card: milliseconds, int64 keys, order numbers. Sources: ISO/IEC 7812-1 (length, Luhn check digit); the card
schemes' published ranges (``ISSUERS``); PCI DSS 3.4 (show at most the first six and last four digits).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from streams.contracts.text.escaped_text import View, unescaped


class Issuer(NamedTuple):
    """A scheme's range of prefixes, both ends included and of one length, and the lengths of its numbers."""

    first: int
    last: int
    lengths: frozenset[int]


def _issuer(first: int, last: int | None = None, *lengths: int) -> Issuer:
    return Issuer(first, first if last is None else last, frozenset(lengths))


_LONG = (16, 17, 18, 19)
_MAESTRO = tuple(range(12, 20))
ISSUERS = (
    _issuer(4, None, 13, 16, 19),  # Visa
    _issuer(51, 55, 16), _issuer(2221, 2720, 16),  # Mastercard
    _issuer(34, None, 15), _issuer(37, None, 15),  # American Express
    _issuer(300, 305, 14, *_LONG), _issuer(3095, None, 14, *_LONG), _issuer(36, None, 14, 15, *_LONG), _issuer(38, 39, 14, *_LONG),  # Diners Club
    _issuer(6011, None, *_LONG), _issuer(644, 649, *_LONG), _issuer(65, None, *_LONG),  # Discover
    _issuer(3528, 3589, *_LONG),  # JCB
    _issuer(62, None, *_LONG), _issuer(81, None, *_LONG),  # UnionPay
    _issuer(5018, None, *_MAESTRO), _issuer(5020, None, *_MAESTRO), _issuer(5038, None, *_MAESTRO),  # Maestro
    _issuer(5612, None, *_MAESTRO), _issuer(5893, None, *_MAESTRO), _issuer(6304, None, *_MAESTRO),
    _issuer(6390, None, *_MAESTRO), _issuer(6703, None, *_MAESTRO), _issuer(6706, None, *_MAESTRO),
    _issuer(6709, None, *_MAESTRO), _issuer(6759, None, *_MAESTRO), _issuer(6761, 6763, *_MAESTRO), _issuer(6771, None, *_MAESTRO),
    _issuer(5019, None, 16),  # Dankort
    _issuer(2200, 2204, *_LONG), _issuer(2205, None, 16),  # Mir, Borica
    _issuer(508, None, 16), _issuer(60, None, 16), _issuer(82, None, 16),  # RuPay
    _issuer(506099, 506198, 16, 18, 19),  # Verve
    _issuer(636368, None, 16), _issuer(438935, None, 16), _issuer(504175, None, 16), _issuer(636297, None, 16), _issuer(627780, None, 16),  # Elo
    _issuer(606282, None, 16), _issuer(9792, None, 16), _issuer(8600, None, 16), _issuer(9860, None, 16),  # Hipercard, Troy, Uzcard, Humo
)  # fmt: skip
MIN_DIGITS = min(length for issuer in ISSUERS for length in issuer.lengths)

# by number of digits of the prefix: prefix -> lengths
_BY_PREFIX: dict[int, dict[int, frozenset[int]]] = {}
for _one in ISSUERS:
    _table = _BY_PREFIX.setdefault(len(str(_one.first)), {})
    for _prefix in range(_one.first, _one.last + 1):
        _table[_prefix] = _table.get(_prefix, frozenset()) | _one.lengths

_LONGEST_PREFIX = max(_BY_PREFIX)

#: digits that Unicode does not call decimal: superscripts, subscripts, in circles, brackets or with a stop; numerals of East Asia
_OTHER_DIGITS = "²³¹⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒\U0001f100-\U0001f10a"
_EAST_ASIA = {char: value for value, char in enumerate("〇一二三四五六七八九")}
_DIGIT = rf"[\d{_OTHER_DIGITS}{''.join(_EAST_ASIA)}]"
#: what people, programs and printers put between the digits of one number: blanks and controls, dashes, stops, slashes, marks without width
_BETWEEN = (
    r"[\s\x00-\x20\x7f-\xa0\xad,.'_/|~"
    r"\-\u02d7\u058a\u05be\u1400\u1806\u2010-\u2015\u2043\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
    r"\u00b7\u2022\u2219\u22c5\u30fb\uff0e\uff61\u3002\u2019\u066b\u066c"
    r"\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_RUN = re.compile(rf"{_DIGIT}(?:{_BETWEEN}{{0,4}}{_DIGIT}){{{MIN_DIGITS - 1},}}")
_DIGITS = re.compile(rf"{_DIGIT}+")
# the same for ASCII, in a fifth of the time
_ASCII_BETWEEN = r"[\x00-\x20\x7f,.'_/|~\-]"
_ASCII_RUN = re.compile(rf"[0-9](?:{_ASCII_BETWEEN}{{0,4}}[0-9]){{{MIN_DIGITS - 1},}}")
_ANY_DIGIT = bytes.maketrans(b"0123456789", b"0" * 10)
_BETWEEN_ASCII = bytes([*range(0x21), 0x7F]) + b",.'_/|~-"
_TWELVE_DIGITS = b"0" * MIN_DIGITS


def passes_luhn(digits: str) -> bool:
    """Whether a string of ASCII digits carries a valid Luhn check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char)
        if index % 2:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether ASCII digits are a card number: a known issuer's prefix, a length of that issuer, and the check digit."""
    return len(digits) in _lengths(digits[:_LONGEST_PREFIX]) and passes_luhn(digits)


@lru_cache(4096)
def _lengths(prefix: str) -> frozenset[int]:
    """The lengths of card numbers that begin with ``prefix``, of _LONGEST_PREFIX digits or fewer."""
    return frozenset().union(
        *(table.get(int(prefix[:size]), ()) for size, table in _BY_PREFIX.items() if len(prefix) >= size)
    )


def card_digits(text: str) -> str:
    """The digits of a text, of whatever script, as ASCII: all spellings of one card number have the same."""
    return "".join(str(_value(char)) for char in "".join(_DIGITS.findall(text)))


def may_hold_card_number(raw: bytes) -> bool:
    """Whether ASCII without escapes has as many digits as a card number, with nothing but separators in between. Costs 1 ns a byte."""
    return _TWELVE_DIGITS in raw.translate(_ANY_DIGIT, _BETWEEN_ASCII)


def find_card_number(text: str) -> str | None:
    """The first card number in a text, as it is spelled there, or in what its escapes stand for."""
    for shown in _shown(text):
        for places in _numbers(shown.text):
            return shown.text[places[0] : places[-1] + 1]
    return None


def mask_text(text: str) -> str:
    """The same text; of every card number, escaped or not, only the first six and last four digits are left."""
    for shown in _shown(text):
        hidden = {place for places in _numbers(shown.text) for place in places[6:-4]}
        if hidden:
            pieces = ["*" if at in hidden else shown.piece(at) for at in range(len(shown.text))]
            return mask_text("".join(pieces))
    return text


def mask_card_numbers(raw: bytes) -> bytes:
    """``mask_text`` of bytes that should be UTF-8; UTF-16 is looked through too, as text with zeros in between."""
    text = raw.decode("utf-8", "surrogateescape")
    masked = mask_text(text)
    return raw if masked == text else masked.encode("utf-8", "surrogateescape")


def _shown(text: str) -> Iterator[View]:
    """The text itself, then what its escapes stand for: what looks like an escape need not be one."""
    yield View(text, None)
    view = unescaped(text)
    if view.pieces is not None:
        yield view


def _numbers(text: str) -> Iterator[tuple[int, ...]]:
    """The places of each card number's digits in a text. One consists of whole groups of digits: the middle of a longer number is none."""
    plain = text.isascii()
    if plain and not may_hold_card_number(text.encode()):
        return
    for run in (_ASCII_RUN if plain else _RUN).finditer(text):
        groups = [group.span() for group in _DIGITS.finditer(text, run.start(), run.end())]
        digits = "".join([text[begin:end] for begin, end in groups])
        if not plain:
            digits = "".join([str(_value(char)) for char in digits])
        # counts of digits at which a group begins or ends
        places: list[int] = []
        ends = dict.fromkeys((0, *accumulate(end - begin for begin, end in groups)))
        for first in ends:
            for length in _lengths(digits[first : first + _LONGEST_PREFIX]):
                if first + length in ends and passes_luhn(digits[first : first + length]):
                    places = places or [at for group in groups for at in range(*group)]
                    yield tuple(places[first : first + length])


def _value(char: str) -> int:
    found = _EAST_ASIA.get(char)
    return unicodedata.digit(char) if found is None else found
