"""Rounds of tests: complete windows against the live bundle's reference, and what several of them in a row confirm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX
from features.catalogue import WIDTH
from models.drift.causes import Cause, likely_cause
from models.drift.effective_size import by_card, effective_size
from models.drift.requests import Confirmations, RetrainingPolicy
from models.drift.statistics import Severity, Thresholds, psi_beyond_noise, severity, significant
from models.drift.window import Collector, Window, WindowPolicy
from streams.drift.comparable import FIELDS, Baseline, compared, together
from streams.drift.detectors import Detector
from streams.drift.signs import signs_of

#: a column whose known values are worth fewer independent rows than this on either side is not tested
MIN_KNOWN = 200
#: the feature of a test on all columns
ALL = "*"


@dataclass(frozen=True)
class DriftPolicy:
    """All settings of the drift process."""

    window: WindowPolicy = field(default_factory=WindowPolicy)
    thresholds: Thresholds = field(default_factory=Thresholds)
    retraining: RetrainingPolicy = field(default_factory=RetrainingPolicy)


@dataclass(frozen=True)
class Finding:
    """One test's result for one column (``*``: all). ``rows``: known values of the window; ``size``: the independent rows they are worth.

    ``severity`` is that of this window alone.
    """

    detector: str
    feature: str
    statistic: float
    p_value: float
    distance: float
    psi: float | None
    rows: int
    size: int
    severity: Severity = "none"

    @property
    def name(self) -> str:
        return f"{self.detector}:{self.feature}"

    @property
    def emptied(self) -> bool:
        """Whether a producer leaves a field empty: then somebody must mend it, and a new model does not help."""
        sent = self.feature in FIELDS or self.feature.startswith(PREFIX)
        return self.detector == "null_rate" and sent and self.severity != "none"


@dataclass(frozen=True)
class Round:
    """A tested window, its findings, and by the name of each the severity that it confirms. ``cause``: None where nothing drifts."""

    window: Window
    findings: list[Finding]
    confirmed: dict[str, Severity]
    cause: Cause | None = None

    def asking(self) -> list[Finding]:
        """The confirmed critical findings for which a new model may help; none while a field is empty, which moves much else."""
        if any(found.emptied for found in self.findings):
            return []
        return [
            found for found in self.findings
            if self.confirmed[found.name] == "critical" and found.detector != "null_rate"
        ]  # fmt: skip


class Rounds:
    """Collects windows and tests each against one baseline. Rows come in through ``collector``."""

    def __init__(self, detectors: list[Detector], policy: DriftPolicy) -> None:
        self._detectors, self._policy = detectors, policy
        self._width = WIDTH
        self.collector = Collector(policy.window, self._width)
        self._baseline: Baseline | None = None
        self._confirmations = Confirmations(policy.retraining.confirm_rounds)

    def use(self, baseline: Baseline) -> None:
        """Test against this baseline from now on; confirmations and decisions of the one before are dropped, and with attributes, which
        each model takes in its own way, the rows too."""
        self._baseline = baseline
        if baseline.own or len(baseline.reference.names) != self._width:
            self._width = len(baseline.reference.names)
            self.collector = Collector(self._policy.window, self._width)
        self.collector.forget_decisions()
        self._confirmations = Confirmations(self._policy.retraining.confirm_rounds)

    def next(self) -> Round | None:
        """The next round, if there is a baseline and the window is complete."""
        if self._baseline is None or not self.collector.complete():
            return None
        window = self.collector.close()
        findings = judge(window, self._baseline, self._detectors, self._policy.thresholds)
        self._confirmations = self._confirmations.after({found.name: found.severity for found in findings})
        confirmed = {found.name: self._confirmations.confirmed(found.name) for found in findings}
        drifting = {found.feature for found in findings if confirmed[found.name] != "none"}
        cause = None
        if drifting:
            emptied = {found.feature for found in findings if found.emptied}
            cause = likely_cause(signs_of(window, self._baseline.reference, emptied, drifting))
        return Round(window, findings, confirmed, cause)


def judge(
    window: Window, baseline: Baseline, detectors: Iterable[Detector], limits: Thresholds
) -> list[Finding]:
    """The findings of all tests, with severity; the false discovery rate is controlled over all of them."""
    findings = [*_by_column(window, baseline, list(detectors)), *_of_all(window, baseline, list(detectors))]
    flags = significant([finding.p_value for finding in findings], limits.false_discovery_rate)
    return [
        replace(finding, severity=severity(bool(flag), finding.distance, finding.psi, limits))
        for finding, flag in zip(findings, flags, strict=True)
    ]


def _by_column(window: Window, baseline: Baseline, detectors: list[Detector]) -> Iterable[Finding]:
    for column in compared(baseline, window):
        before, now = column.bins.codes(column.before), column.bins.codes(column.now)
        size = effective_size(now, column.now_ms, column.cards)
        if min(len(before), size) < MIN_KNOWN:
            continue
        psi = psi_beyond_noise(column.bins, before, now, size)
        values = column.takes == "number"
        for detector in detectors:
            if detector.takes != column.takes:
                continue
            # the p-value is of as many rows as the window's are worth, the effect of all
            few = _some(column.now if values else now.astype(np.float32), size)
            tested = detector.test(column.before if values else before.astype(np.float32), few)
            yield Finding(
                detector.name,
                column.name,
                tested.statistic,
                tested.p_value,
                tested.distance,
                psi,
                len(now),
                size,
            )


def _of_all(window: Window, baseline: Baseline, detectors: list[Detector]) -> Iterable[Finding]:
    names, before, now = together(baseline, window)
    size = int(by_card(window.cards))
    if not names or min(len(before), size) < MIN_KNOWN:
        return
    for detector in detectors:
        if detector.takes == "all":
            tested = detector.test(before, _some(now, size))
            yield Finding(
                detector.name, ALL, tested.statistic, tested.p_value, tested.distance, None, len(now), size
            )


def _some(rows: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """``size`` of the rows, drawn without replacement, always the same."""
    if size >= len(rows):
        return rows
    return rows[np.random.default_rng(len(rows)).choice(len(rows), size, replace=False)]
