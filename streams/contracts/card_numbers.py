"""Find card numbers (PAN) in text by length and Luhn check, and mask them before text is logged or sent on.

Source: ISO/IEC 7812-1 (length, Luhn check digit); PCI DSS 3.4 (show at most the first six and last four digits).
"""

from __future__ import annotations

import re
import unicodedata

# digits in one run, or in the groups printed on cards; an id such as 1795347168-12 does not match
_CANDIDATE = re.compile(
    r"(?<!\d)(?:\d{4}(?P<sep>[ .-])\d{4}(?P=sep)\d{4}(?P=sep)\d{1,7}|\d{4}(?P<amex>[ .-])\d{6}(?P=amex)\d{4,5}|\d{12,19})(?!\d)"
)
_TWELVE = re.compile(r"(?:\d[ .-]?){12}")


def passes_luhn(digits: str) -> bool:
    """Whether a string of decimal digits carries a valid Luhn check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = unicodedata.digit(char)
        if index % 2:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0


def find_card_number(text: str) -> str | None:
    """The first card number in a text: 12 to 19 digits of any script that pass Luhn, in one run or in printed groups."""
    if not _TWELVE.search(text):
        return None
    for match in _CANDIDATE.finditer(text):
        if _is_card_number(match.group()):
            return match.group()
    return None


def mask_card_numbers(raw: bytes) -> bytes:
    """The same bytes; of every card number only the first six and last four digits are left."""

    def mask(match: re.Match[str]) -> str:
        if not _is_card_number(match.group()):
            return match.group()
        digits = _digits(match.group())
        return digits[:6] + "*" * (len(digits) - 10) + digits[-4:]

    text = raw.decode("utf-8", "surrogateescape")
    if not _TWELVE.search(text):
        return raw
    return _CANDIDATE.sub(mask, text).encode("utf-8", "surrogateescape")


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdecimal())


def _is_card_number(text: str) -> bool:
    digits = _digits(text)
    return any(unicodedata.digit(char) for char in digits) and passes_luhn(digits)
