"""Past decisions with what is known of their labels, in columns: what the figures of live performance are made from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from models.training.label_states import LabelState

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DecidedRows:
    """n decisions. ``code``: int8 (``models.decision.DECISIONS``); ``score``: float32, NaN where there is none; ``state``: int8
    ``LabelState``; ``stated``: whether a label has arrived; ``amount_minor``: int64 in minor units of ``currency``.
    """

    event_ms: npt.NDArray[np.int64]
    card: npt.NDArray[Any]
    code: npt.NDArray[np.int8]
    score: npt.NDArray[np.float32]
    state: npt.NDArray[np.int8]
    stated: Flags
    amount_minor: npt.NDArray[np.int64]
    currency: npt.NDArray[Any]
    model_version: npt.NDArray[Any]
    tenant: npt.NDArray[Any]
    channel: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.event_ms)

    @property
    def fraud(self) -> Flags:
        return np.asarray(self.state == LabelState.FRAUD)

    @property
    def honest(self) -> Flags:
        return np.asarray(self.state == LabelState.HONEST)

    @property
    def matured(self) -> Flags:
        """Old enough for its label, whether or not it is known."""
        return np.asarray(self.state != LabelState.NOT_MATURED)

    @property
    def stopped(self) -> Flags:
        """Reviewed or declined."""
        return np.asarray(self.code > 0)

    def take(self, rows: npt.NDArray[Any]) -> DecidedRows:
        """The rows selected by a mask or an index array."""
        return DecidedRows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def joined(parts: list[DecidedRows]) -> DecidedRows:
    """Several as one, in the order given.

    Raises:
        ValueError: the list is empty.
    """
    return DecidedRows(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(DecidedRows)}
    )  # fmt: skip
