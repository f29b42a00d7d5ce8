"""Card numbers (PAN) in text: found by length and Luhn, masked before anything is logged or sent on.

Source: ISO/IEC 7812-1 (length, Luhn check digit); PCI DSS 3.4 (show at most the first six and last four digits).
"""

from __future__ import annotations

import re

_RUN = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){11,18}(?![0-9])")
_RUN_BYTES = re.compile(rb"(?<![0-9])[0-9](?:[ -]?[0-9]){11,18}(?![0-9])")
_TWELVE = re.compile(r"[0-9](?:[ -]?[0-9]){11}")


def passes_luhn(digits: str) -> bool:
    """Whether a string of decimal digits carries a valid Luhn check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if index % 2:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0


def find_card_number(text: str) -> str | None:
    """The first run of 12 to 19 digits (single spaces or dashes between them allowed) that passes Luhn."""
    if not _TWELVE.search(text):
        return None
    for match in _RUN.finditer(text):
        digits = match.group().replace(" ", "").replace("-", "")
        if passes_luhn(digits) and digits.strip("0"):
            return match.group()
    return None


def mask_card_numbers(raw: bytes) -> bytes:
    """The same bytes with every card number shown as its first six and last four digits."""

    def mask(match: re.Match[bytes]) -> bytes:
        digits = re.sub(rb"[^0-9]", b"", match.group())
        if not passes_luhn(digits.decode()):
            return match.group()
        return digits[:6] + b"*" * (len(digits) - 10) + digits[-4:]

    return _RUN_BYTES.sub(mask, raw)
