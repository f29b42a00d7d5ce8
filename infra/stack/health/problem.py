"""A problem of a running stack, as ``tollgate status`` says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """``stops``: no transaction is decided, or those of some partitions are not, until the problem is solved."""

    text: str
    stops: bool
