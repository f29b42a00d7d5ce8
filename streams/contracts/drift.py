"""A row of `drift`: one detector's verdict."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.transaction import Instant
from streams.contracts.decoding import RecordDecoder


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One detector's verdict on one feature (or ``*`` for all) over one window of decisions.

    ``cause``: what the window's drift probably comes from, and ``why``, in words with figures; of rows that drift
    (``models.drift.causes``).
    """

    detector: str
    feature: str
    window_start: Instant
    window_end: Instant
    rows: int
    statistic: float
    p_value: float | None
    psi: float | None
    severity: Literal["none", "warning", "critical"]
    model_version: str
    bundle_reference: str
    cause: Literal["producer", "attack", "population"] | None = None
    why: str = ""


decode_drift = RecordDecoder(DriftRow)
