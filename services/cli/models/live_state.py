"""Features of a file's payments by what the live store knows now."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.catalogue import WIDTH
from features.kernels.payer import DUPLICATE
from features.replay import columns_of_table
from features.store.profiles.reader import Named, ProfileReader
from models.training.dataset import FloatArray

#: rows whose profiles are read together
READ_ROWS = 1_000
_ENTITIES = ("card_id", "customer_id", "merchant_id", "device_id", "ip")


class LiveState:
    """Each row as if it were the next payment: it knows what the store knows, and nothing of the file's other rows. Writes nothing."""

    def __init__(self, history: pa.Table, reader: ProfileReader) -> None:
        self._columns, self._reader, self._done = columns_of_table(history), reader, 0
        present = [name for name in _ENTITIES if name in history.column_names]
        names = {name: history[name].to_pylist() for name in present}
        self._wanted = [
            Named(**{name: value or "" for name, value in zip(present, row, strict=True)})
            for row in zip(*names.values(), strict=True)
        ]

    def until(self, end: int) -> FloatArray:
        """Features of the rows from where the last step ended to ``end``, float32 (rows, WIDTH); NaN for one that the store has applied.

        Raises:
            ProfilesUnavailable: they cannot be read, or are incomplete.
        """
        begin, self._done = self._done, end
        out = np.empty((end - begin, WIDTH), np.float32)
        for start in range(begin, end, READ_ROWS):
            rows = slice(start, min(start + READ_ROWS, end))
            gather = self._reader.read(self._wanted[rows])
            block, seen = gather.compute(self._columns[rows], apply=False)
            block[seen == DUPLICATE] = np.nan
            out[rows.start - begin : rows.stop - begin] = block
        return out
