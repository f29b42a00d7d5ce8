"""One round of tests: the window against the live bundle's reference, and the rows for `drift`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, NAMES
from features.transaction import from_ms
from models.bundle.reference import Reference
from models.drift.statistics import Severity, Thresholds, same_hours, severity, significant
from streams.contracts.drift import DriftRow
from streams.drift.comparable import COMPARABLE, SCORE, Columns, Matrix, columns_of, is_mature
from streams.drift.detectors import Detector, Finding

#: rows of the reference used in one round
REFERENCE_ROWS = 1000
_ONLY_WARN = frozenset(column.name for column in COMPARABLE if column.since == "mature")


@dataclass(frozen=True)
class Round:
    """The input of one round. ``event_ms`` is milliseconds since 1970, one per row of ``matrix`` (rows, WIDTH)."""

    matrix: Matrix
    event_ms: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    model: str
    model_version: str


def judge(
    window: Round, reference: Reference, detectors: Iterable[Detector], limits: Thresholds
) -> list[tuple[Finding, DriftRow]]:
    """All findings of all detectors, each with its row for `drift`; the false discovery rate is controlled over all.

    Raises:
        ValueError: the reference's columns are not this catalogue's.
    """
    before, now = samples(window, reference)
    findings = [finding for detector in detectors for finding in detector.test(before, now)]
    flags = significant([finding.p_value for finding in findings], limits.false_discovery_rate)
    return [
        (finding, _row(finding, _severity(finding, bool(flag), limits), window))
        for finding, flag in zip(findings, flags, strict=True)
    ]


def samples(window: Round, reference: Reference) -> tuple[Columns, Columns]:
    """The columns to compare, (reference's, window's): same hours of the day, comparable columns only.

    Raises:
        ValueError: the reference's columns are not this catalogue's.
    """
    if reference.names != NAMES:
        raise ValueError(
            f"the reference of {window.model} {window.model_version} has another feature catalogue"
        )
    mature = is_mature(reference.matrix, window.matrix)
    hour = INDEX["hour"]
    rng = np.random.default_rng(len(window.event_ms))
    rows = same_hours(reference.matrix[:, hour], window.matrix[:, hour], REFERENCE_ROWS, rng)
    before = columns_of(reference.matrix[rows], reference.scores[rows], mature=mature)
    return before, columns_of(window.matrix, window.scores, mature=mature)


def _severity(finding: Finding, flag: bool, limits: Thresholds) -> Severity:
    found = severity(flag, finding.distance, finding.psi, limits)
    # columns of remembered state may drift for reasons that a new model does not remedy: they never ask for one
    return "warning" if found == "critical" and finding.feature in _ONLY_WARN else found


def _row(finding: Finding, found: Severity, window: Round) -> DriftRow:
    return DriftRow(
        detector=finding.detector,
        feature=finding.feature,
        window_start=from_ms(int(window.event_ms.min())),
        window_end=from_ms(int(window.event_ms.max())),
        rows=len(window.scores) if finding.feature == SCORE else len(window.event_ms),
        statistic=finding.statistic,
        p_value=finding.p_value,
        psi=finding.psi,
        severity=found,
        model_version=window.model_version,
        bundle_reference=f"{window.model}/{window.model_version}/reference.npz",
    )
