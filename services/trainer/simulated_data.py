"""Which share of a data set was simulated: a person who approves a model must know that it never saw a real payment."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

#: entry of a table's metadata that marks simulated history
SIMULATED = b"tollgate.simulated"
#: file beside the first model's data set that marks it
_MARK = "simulated"


def marked(history: pa.Table) -> pa.Table:
    """The table with the mark of simulated history."""
    return history.replace_schema_metadata({**(history.schema.metadata or {}), SIMULATED: b"yes"})


def is_marked(history: pa.Table) -> bool:
    """Whether a history table is simulated."""
    return SIMULATED in (history.schema.metadata or {})


def mark_seed(folder: Path, simulated: bool) -> None:
    """Note beside the first model's data set whether it is simulated."""
    if simulated:
        (folder / _MARK).write_text("the first model's data set was simulated, not observed\n")
    else:
        (folder / _MARK).unlink(missing_ok=True)


def seed_is_simulated(folder: Path) -> bool:
    """What ``mark_seed`` noted."""
    return (folder / _MARK).exists()


def share_in_words(simulated_rows: int, rows: int) -> str:
    """For people, after the number of rows."""
    return (
        f"{simulated_rows / rows:.0%} of the rows simulated" if rows and simulated_rows else "none simulated"
    )
