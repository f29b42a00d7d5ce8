"""How many lines of the kernels run for one payment: `NUMBA_DISABLE_JIT=1 python -m tests.support.kernel_steps FILE`.

Without Numba's compiler they are plain Python, whose lines a trace can count. FILE (NumPy's npz) holds what one payment meets:
``payment``, ``payer``, ``shared_entity``. Prints the steps of the payer's and of the shared entity's kernels as JSON.
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
from features.kernels.columns import PAYMENT
from features.kernels.payer import APPLY, CARD_COLUMNS, payer_features
from features.kernels.shared_entity import PAID, apply_items, shared_entity_features
from features.profile.records import PAYER, SHARED_ENTITY

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
        if "/features/kernels/" not in frame.f_code.co_filename:
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
        payer = Records(given["payer"].view(PAYER).copy())
        shared_entity = Records(given["shared_entity"].view(SHARED_ENTITY).copy())
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(1, dtype=np.uint8)
    tx = payment.of
    out: Any = {
        "payer": steps(lambda: payer_features(payment, ONE, payer, APPLY, CARD_COLUMNS, row, seen)),
        "shared_entity": steps(
            lambda: shared_entity_features(payment, np.array([[0, -1, -1]]), shared_entity, row)
        )
        + steps(
            lambda: apply_items(
                ONE, ONE + 10**6, ONE + PAID, tx["event_ms"], tx["amount"], tx["id_hash"], ONE, shared_entity
            )
        ),
        "repeated": int(seen[0]),
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])
