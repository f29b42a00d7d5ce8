"""Tables that lose nothing: as wide as they are outside of a terminal, and folded over several lines in a narrow one."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from services.cli.terminal.words import visible

#: outside of a terminal a table is as wide as its text; no cell is longer
_ANY_WIDTH = 10_000


class _Table(Table):
    """Shows the texts of its cells as they are: what a record says is neither markup nor an order to the terminal."""

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        super().add_row(*(visible(cell) if isinstance(cell, str) else cell for cell in cells), **more)


def table(*columns: str) -> Table:
    """A table whose cells are folded where they do not fit, never cut."""
    made = _Table()
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def console() -> Console:
    """Standard output, with its real width only if it is a terminal. Brackets and colons in a text are text."""
    width = None if sys.stdout.isatty() else _ANY_WIDTH
    return Console(width=width, markup=False, emoji=False)
