"""Which texts a field of a transaction can hold, and what was probably meant by one that it cannot.

Rules, lists, thresholds and costs are checked with it before they are published: a mistyped value would never match, in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from features.currencies import CURRENCIES
from features.identifiers import MAX_LENGTH, canonical_id, canonical_ip
from features.iso_codes import COUNTRIES, COUNTRY_NICKNAMES, TWO_LETTERS
from features.transaction import CHANNELS

_CHANNEL_WORDS = {
    "web": "ecom", "online": "ecom", "internet": "ecom", "ecommerce": "ecom", "e-commerce": "ecom", "app": "ecom", "cnp": "ecom",
    "store": "pos", "terminal": "pos", "card-present": "pos", "chip": "pos", "cash": "atm", "withdrawal": "atm", "wire": "transfer",
    "sepa": "transfer", "phone": "moto", "mail": "moto", "telephone": "moto",
}  # fmt: skip
_CURRENCY_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
#: field -> all texts that it can hold
ENUMERATED: dict[str, frozenset[str]] = {
    "channel": frozenset(CHANNELS),
    "country": COUNTRIES,
    "currency": CURRENCIES,
}
_KINDS = {
    "channel": f"channels are {', '.join(CHANNELS)}",
    "country": "a country is an ISO 3166 code of two capital letters",
    "currency": "a currency is an ISO 4217 code of three capital letters",
    "mcc": "a merchant category code has four digits",
    "ip": "an ip is one address in its canonical form",
}
_OTHER_WORDS: dict[str, dict[str, str]] = {
    "channel": _CHANNEL_WORDS, "country": COUNTRY_NICKNAMES | TWO_LETTERS, "currency": _CURRENCY_SIGNS,
}  # fmt: skip


class Fault(NamedTuple):
    """Why a field never holds a text, and the text that was probably meant."""

    why: str
    meant: str | None = None

    def __str__(self) -> str:
        return told([self])


def told(faults: Iterable[Fault]) -> str:
    """Faults in words: each cause once, with all that was meant."""
    by_cause: dict[str, list[str]] = {}
    for found in faults:
        by_cause.setdefault(found.why, []).extend([quoted(found.meant)] if found.meant is not None else [])
    return "; ".join(why + (f"; did you mean {', '.join(texts)}?" if texts else "") for why, texts in by_cause.items())  # fmt: skip


def quoted(text: str) -> str:
    """A text as a condition writes it."""
    return "'" + text.replace("'", "''") + "'"


def fault(field: str, text: str) -> Fault | None:
    """What is wrong with a text as the value of a field; None if a transaction may carry it."""
    if field in ENUMERATED:
        known = ENUMERATED[field]
        return None if text in known else Fault(_KINDS[field], _nearest(field, text))
    if field == "mcc":
        digits = text.strip()
        fits = re.fullmatch(r"[0-9]{1,4}", digits)
        return None if fits and len(text) == 4 else Fault(_KINDS["mcc"], digits.zfill(4) if fits else None)
    return _address_fault(text) if field == "ip" else _identifier_fault(text)


def pattern_fault(field: str, core: str, begins: bool, ends: bool) -> Fault | None:
    """What is wrong with a part of a text; ``begins``, ``ends``: whether the field's value begins or ends with it."""
    if begins and ends:
        return fault(field, core)
    if field in ENUMERATED:
        fits = _fitting(core, begins, ends)
        if any(map(fits, ENUMERATED[field])):
            return None
        others = [other for other in (core.lower(), core.upper()) if other != core]
        return Fault(_KINDS[field], next((o for o in others if any(map(_fitting(o, begins, ends), ENUMERATED[field]))), None))  # fmt: skip
    if field == "mcc":
        return None if re.fullmatch(r"[0-9]{1,4}", core) else Fault(_KINDS["mcc"])
    if field == "ip":
        if re.fullmatch(r"[0-9a-f:.]{1,45}", core):
            return None
        lower = core.strip().lower()
        return Fault(_KINDS["ip"], lower if re.fullmatch(r"[0-9a-f:.]{1,45}", lower) else None)
    trimmed = core.lstrip() if begins else core.rstrip() if ends else core
    if trimmed != core:
        return Fault("an identifier does not begin or end with a blank", trimmed)
    return _identifier_fault(f"x{core.strip()}"[:MAX_LENGTH])


def matches(core: str, begins: bool, ends: bool, text: str) -> bool:
    """Whether a text holds a part: at its beginning, its end, both, or anywhere."""
    if begins and ends:
        return text == core
    return text.startswith(core) if begins else text.endswith(core) if ends else core in text


def _fitting(core: str, begins: bool, ends: bool) -> Callable[[str], bool]:
    return lambda text: matches(core, begins, ends, text)


def _nearest(field: str, text: str) -> str | None:
    known, bare = ENUMERATED[field], text.strip()
    words = _OTHER_WORDS[field]
    for other in (bare, bare.lower(), bare.upper()):
        if other in known:
            return other
        if other in words:
            return words[other]
    cased = bare.lower() if field == "channel" else bare.upper()
    # two letters are too few to guess from
    close = difflib.get_close_matches(cased, sorted(known), 1) if len(cased) > 2 else []
    return close[0] if close else None


def _address_fault(text: str) -> Fault | None:
    if "/" in text:
        return Fault("an ip is one address: put a range on a list of ip, or write ip LIKE '203.0.113.%'")
    try:
        canonical = canonical_ip(text)
    except ValueError as error:
        return Fault(f"it {error}")
    return None if canonical == text else Fault(_KINDS["ip"], canonical)


def _identifier_fault(text: str) -> Fault | None:
    try:
        canonical = canonical_id(text)
    except ValueError as error:
        return Fault(f"it {error}")
    if canonical == text:
        return None
    if text != text.strip(" "):
        return Fault("an identifier does not begin or end with a blank", canonical)
    return Fault("an identifier is written in composed form (Unicode NFC)", canonical)
