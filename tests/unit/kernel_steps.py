"""How many lines of the kernels run for one payment: `NUMBA_DISABLE_JIT=1 python -m tests.unit.kernel_steps FILE`.

Without Numba's compiler they are plain Python, whose lines a trace can count. FILE (NumPy's npz) holds what one payment meets:
``payment``, ``holder``, ``meeting``. Prints the steps of the holder's and of the meeting place's kernels as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from features.catalogue import WIDTH
from features.columns import PAYMENT
from features.holder_kernel import APPLY, CARD_COLUMNS, holder_features
from features.meeting_kernel import PAID, apply_items, meeting_features
from features.profiles import HOLDER, MEETING

ONE = np.zeros(1, dtype=np.int64)


class Record:
    """A structured scalar whose fields are attributes, as they are for compiled code."""

    def __init__(self, of: Any) -> None:
        object.__setattr__(self, "of", of)

    def __getattr__(self, name: str) -> Any:
        value = self.of[name]
        return Records(value) if isinstance(value, np.ndarray) and value.dtype.names else value

    def __setattr__(self, name: str, value: Any) -> None:
        self.of[name] = value


class Records:
    """An array of them."""

    def __init__(self, of: Any) -> None:
        self.of, self.shape = of, of.shape

    def __getitem__(self, i: int) -> Record:
        return Record(self.of[i])

    def __setitem__(self, i: int, record: Record) -> None:
        self.of[i] = record.of


def steps(do: Callable[[], object]) -> int:
    """Lines of the kernels that run while ``do`` does."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith("_kernel.py"):
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(None)
    return count


def main(path: str) -> None:
    # sums of unsigned numbers wrap in compiled code without a word
    warnings.simplefilter("ignore")
    with np.load(path) as given:
        payment = Records(given["payment"].view(PAYMENT).copy())
        holder = Records(given["holder"].view(HOLDER).copy())
        meeting = Records(given["meeting"].view(MEETING).copy())
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(1, dtype=np.uint8)
    tx = payment.of
    out: Any = {
        "holder": steps(lambda: holder_features(payment, ONE, holder, APPLY, CARD_COLUMNS, row, seen)),
        "meeting": steps(lambda: meeting_features(payment, np.array([[0, -1, -1]]), meeting, row))
        + steps(
            lambda: apply_items(
                ONE, ONE + 10**6, ONE + PAID, tx["event_ms"], tx["amount"], tx["id_hash"], ONE, meeting
            )
        ),
        "repeated": int(seen[0]),
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])
