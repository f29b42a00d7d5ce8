"""Figures in words for people, and texts of others as a terminal may show them."""

from __future__ import annotations

import unicodedata

#: controls, and format characters: marks of direction make a line say something else
_ESCAPED = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def visible(text: str) -> str:
    """A line that quotes what somebody else wrote, with all that a terminal would obey in place of showing it (line ends, colours,
    titles, the cursor, the direction of writing) as escapes. Whoever may write to a topic could else write on its readers' screens.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _ESCAPED
        else character
        for character in text
    )


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it: "12.3 s", "34 min", "5 h", "49 days"."""
    for limit, size, unit, digits in ((120, 1, "s", 1), (7_200, 60, "min", 0), (172_800, 3600, "h", 1)):
        if seconds < limit:
            return f"{seconds / size:.{digits}f}".removesuffix(".0") + f" {unit}"
    return f"{seconds / 86_400:,.0f} days"
