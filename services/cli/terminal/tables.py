"""Tables that lose nothing: as wide as they are outside of a terminal, and folded over several lines in a narrow one."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

#: outside of a terminal a table is as wide as its text; no cell is longer
_ANY_WIDTH = 10_000


def table(*columns: str) -> Table:
    """A table whose cells are folded where they do not fit, never cut."""
    made = Table()
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def console() -> Console:
    """Standard output, with its real width only if it is a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_ANY_WIDTH)
