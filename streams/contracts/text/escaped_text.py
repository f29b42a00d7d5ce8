"""Text with escapes, as a reader of it will see it: JSON's, percent and HTML escapes, however often one is escaped itself.

Not a parser: the text may be cut off or broken, and nothing is refused. Each character of what is seen knows the piece that it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

# one of JSON begins where its backslashes begin: to try each of many would take their square
_ESCAPE = re.compile(
    r"(?<!\\)\\++(?:"
    r"u[dD][89abAB][0-9a-fA-F]{2}\\++u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair
    r"|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[nrtbf0/ ])"
    r"|(?:%(?:25)*[0-9a-fA-F]{2})++"
    r"|&(?:amp;)*#?[0-9a-zA-Z]{1,8};"
)
_PERCENT = re.compile(r"%(?:25)*([0-9a-fA-F]{2})")
_CODE = re.compile(r"[uUx]([0-9a-fA-F]+)")


class View(NamedTuple):
    """``text``: what is seen; ``pieces``: what each of its characters stands for, None: itself."""

    text: str
    pieces: list[str] | None

    def piece(self, place: int) -> str:
        """What the character at a place stands for."""
        return self.text[place] if self.pieces is None else self.pieces[place]


def unescaped(text: str) -> View:
    """What a reader will see. A text without escapes costs one search."""
    if _ESCAPE.search(text) is None:
        return View(text, None)
    seen: list[str] = []
    pieces: list[str] = []
    at = 0
    for escape in _ESCAPE.finditer(text):
        plain = text[at : escape.start()]
        seen += plain
        pieces += plain
        for char, piece in _characters(escape.group()):
            seen.append(char)
            pieces.append(piece)
        at = escape.end()
    seen += text[at:]
    pieces += text[at:]
    return View("".join(seen), pieces)


def _characters(escape: str) -> Iterator[tuple[str, str]]:
    """The characters of one escape, each with its piece of it."""
    if escape[0] == "%":
        yield from _percent(escape)
    elif escape[0] == "&":
        char = unescape(re.sub(r"^&(?:amp;)+", "&", escape))
        # an unknown name stays what it is
        yield from ((char, escape),) if len(char) == 1 else zip(escape, escape, strict=True)
    else:
        codes = [int(code, 16) for code in _CODE.findall(escape)]
        yield _of_codes(codes) if codes else " ", escape


def _of_codes(codes: list[int]) -> str:
    if len(codes) == 2:
        return chr(0x10000 + ((codes[0] - 0xD800) << 10) + (codes[1] - 0xDC00))
    return chr(codes[0]) if codes[0] <= 0x10FFFF else "\ufffd"


def _percent(escape: str) -> Iterator[tuple[str, str]]:
    """UTF-8 bytes, each in its own escape."""
    pieces = [match.group() for match in _PERCENT.finditer(escape)]
    raw = bytes(int(piece[-2:], 16) for piece in pieces)
    at = 0
    for char in raw.decode("utf-8", "surrogateescape"):
        size = len(char.encode("utf-8", "surrogateescape"))
        yield char, "".join(pieces[at : at + size])
        at += size
