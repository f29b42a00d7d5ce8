"""The result of one gate: what was measured, with its interval, against which limit."""

from __future__ import annotations

from typing import Literal

import msgspec

#: ``inconclusive``: the interval holds good and bad values, a person decides; ``too_few``: not enough rows to say anything
GateResult = Literal["pass", "fail", "inconclusive", "too_few"]


class GateCheck(msgspec.Struct, frozen=True, kw_only=True):
    """``n``: rows (frauds, honest payments) that it rests on. ``low``, ``high``: 95 % interval of ``estimate``; None where there is none.

    ``required``: without enough rows it counts as failed. ``why``: for people, in one sentence.
    """

    name: str
    result: GateResult
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    required: bool = False
    why: str = ""

    @property
    def stops(self) -> bool:
        """Whether the model is rejected for it."""
        return self.result == "fail" or (self.required and self.result == "too_few")
