"""Ways in which people and programs spell a card number, and a search that sees through all of them without the code under test."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from html import unescape
from urllib.parse import unquote


def _groups(number: str) -> list[str]:
    if len(number) == 15:
        return [number[:4], number[4:10], number[10:]]
    return [number[at : at + 4] for at in range(0, len(number), 4)]


def _with(separator: str) -> Callable[[str], str]:
    return lambda number: separator.join(_groups(number))


def _digit_by_digit(separator: str) -> Callable[[str], str]:
    return lambda number: separator.join(number)


def _script(zero: str) -> Callable[[str], str]:
    return lambda number: "".join(chr(ord(zero) + int(digit)) for digit in number)


def _each(form: str) -> Callable[[str], str]:
    return lambda number: "".join(form.format(ord(digit)) for digit in number)


SEPARATORS = {
    "blank": " ", "two blanks": "  ", "three blanks": "   ", "tab": "\t", "line break": "\n", "no-break": "\u00a0", "thin": "\u2009",
    "narrow no-break": "\u202f", "figure": "\u2007", "hair": "\u200a", "em": "\u2003", "ideographic": "\u3000", "braille": "\u2800",
    "hyphen": "-", "no-break hyphen": "\u2011", "figure dash": "\u2012", "en dash": "\u2013", "em dash": "\u2014", "minus": "\u2212",
    "full dash": "\uff0d", "soft hyphen": "\u00ad", "blank, dash, blank": " - ", "dot": ".", "middle dot": "\u00b7", "bullet": "\u2022",
    "slash": "/", "underscore": "_", "bar": "|", "comma": ",", "apostrophe": "'", "zero width": "\u200b", "joiner": "\u200d",
    "byte order mark": "\ufeff", "direction": "\u200e", "zero byte": "\x00", "percent": "%20", "percent no-break": "%C2%A0",
    "entity": "&nbsp;", "number entity": "&#160;", "twice escaped entity": "&amp;nbsp;",
}  # fmt: skip
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    **{name: _with(separator) for name, separator in SEPARATORS.items()},
    **{f"each {name}": _digit_by_digit(SEPARATORS[name]) for name in ("blank", "hyphen", "zero width", "no-break", "zero byte", "dot")},
    "full width": _script("\uff10"), "arabic": _script("\u0660"), "persian": _script("\u06f0"), "devanagari": _script("\u0966"),
    "bengali": _script("\u09e6"), "thai": _script("\u0e50"), "bold": _script("\U0001d7ce"), "monospace": _script("\U0001d7f6"),
    "full width groups": lambda number: "\u3000".join(map(_script("\uff10"), _groups(number))),
    "superscript": lambda number: number.translate(str.maketrans("0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")),
    "east asia": lambda number: number.translate(str.maketrans("0123456789", "〇一二三四五六七八九")),
    "keycaps": lambda number: "".join(f"{digit}\ufe0f\u20e3" for digit in number),
    "json escapes": _each("\\u{:04x}"), "percent escapes": _each("%{:02X}"), "entities": _each("&#{};"), "hex entities": _each("&#x{:x};"),
    "python escapes": _each("\\x{:02x}"), "percent twice": _each("%25{:02x}"),
    "float": lambda number: f"{number[0]}.{number[1:]}E{len(number) - 1}", "with decimals": lambda number: f"{number}.00",
    "track 1": lambda number: f"%B{number}^DOE/J^27121010000000000000", "track 2": lambda number: f";{number}=27121010000012345678?",
    "with expiry": lambda number: f"{number} 12/27", "in an address": lambda number: f"https://pay.example/?pan={number}&x=1",
}  # fmt: skip


def spelled(number: str, text: str) -> list[str]:
    """The spellings of a card number that can still be read out of a text."""
    found = []
    seen = text
    for _ in range(4):
        digits = "".join(_digit(char) for char in seen)
        if number in re.sub(r"[^0-9*]", "", digits):
            found.append(seen)
        seen = _unescaped(seen)
    return found


def _unescaped(text: str) -> str:
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    text = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unescape(unquote(text))


def _digit(char: str) -> str:
    value = unicodedata.digit(char, None)
    if value is None and char in "〇一二三四五六七八九":
        value = "〇一二三四五六七八九".index(char)
    return char if value is None else str(value)
