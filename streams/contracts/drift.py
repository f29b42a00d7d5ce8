"""A row of `drift`: one detector's verdict."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.transaction import Instant
from streams.contracts.decoding import RecordDecoder


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One detector's verdict on one feature (or ``*`` for all) over one window of decisions."""

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


decode_drift = RecordDecoder(DriftRow)
