"""Compare two policies on past transactions: which decisions differ, what each rule matched, and the effect on fraud and honest customers.

Both policies decide on the scores and features of the time. Amounts are summed by currency, in minor units.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.policy.policy import DECISIONS, Policy
from models.policy.rules.columns import TableColumns

Flags = npt.NDArray[np.bool_]
#: of each kind of change, so many of the rows that were added last are kept as samples
SAMPLES = 5


@dataclass(frozen=True)
class PastRows:
    """n past transactions. ``censored``: declined at the time, so that nobody knows; any other row has no label yet.

    ``columns`` None: their fields are not known, so that whatever names a field has no effect.
    """

    scores: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]
    columns: TableColumns | None
    amount_minor: npt.NDArray[np.int64]
    currency: npt.NDArray[Any]
    fraud: Flags
    honest: Flags
    censored: Flags


@dataclass
class _Side:
    """Sums over the decisions of one policy."""

    decisions: Counter[str] = field(default_factory=Counter)
    frauds_caught: int = 0
    frauds_missed: int = 0
    false_alarms: int = 0
    caught_minor: Counter[str] = field(default_factory=Counter)
    missed_minor: Counter[str] = field(default_factory=Counter)
    alarmed_minor: Counter[str] = field(default_factory=Counter)

    def add(self, rows: PastRows, codes: npt.NDArray[np.int8]) -> None:
        stopped = codes > 0
        for code, name in enumerate(DECISIONS):
            self.decisions[name] += int(np.count_nonzero(codes == code))
        caught, missed, alarmed = rows.fraud & stopped, rows.fraud & ~stopped, rows.honest & stopped
        self.frauds_caught += int(caught.sum())
        self.frauds_missed += int(missed.sum())
        self.false_alarms += int(alarmed.sum())
        for money, chosen in ((self.caught_minor, caught), (self.missed_minor, missed), (self.alarmed_minor, alarmed)):  # fmt: skip
            for currency in set(rows.currency[chosen].tolist()):
                money[currency] += int(rows.amount_minor[chosen & (rows.currency == currency)].sum())

    def report(self) -> dict[str, Any]:
        return {
            "decisions": dict(self.decisions), "frauds_caught": self.frauds_caught, "frauds_missed": self.frauds_missed,
            "false_alarms": self.false_alarms, "caught_minor": dict(sorted(self.caught_minor.items())),
            "missed_minor": dict(sorted(self.missed_minor.items())),
            "false_alarms_minor": dict(sorted(self.alarmed_minor.items())),
        }  # fmt: skip


class Comparison:
    """Sums up where ``after`` decides differently from ``before``."""

    def __init__(self, before: Policy, after: Policy, now_ms: float) -> None:
        """``now_ms``: rules and entries that have expired at this time have no effect on any row."""
        self._policies = (before, after)
        self._now_ms = now_ms
        self._sides = (_Side(), _Side())
        self._rows: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._matched: dict[str, Counter[str]] = defaultdict(Counter)
        self._errors: dict[str, str] = {}
        self._samples: dict[str, deque[dict[str, Any]]] = defaultdict(lambda: deque(maxlen=SAMPLES))

    def add(self, rows: PastRows, scores_after: npt.NDArray[np.float32] | None = None) -> None:
        """Decide rows with both policies and add the results.

        Args:
            scores_after: what another model gives these rows, for ``after``; None: the scores of the time.
        """
        self._rows.update(
            rows=len(rows.scores), fraud=int(rows.fraud.sum()), honest=int(rows.honest.sum()),
            censored=int(rows.censored.sum()),
        )  # fmt: skip
        both = (rows.scores, rows.scores if scores_after is None else scores_after)
        decided = [
            policy.decide(scores, rows.matrix, rows.columns, self._now_ms, self._failed)
            for policy, scores in zip(self._policies, both, strict=True)
        ]
        for side, (codes, _) in zip(self._sides, decided, strict=True):
            side.add(rows, codes)
        (before, _), (after, names) = decided
        told_of = np.select(
            [rows.fraud, rows.honest, rows.censored], ["fraud", "honest", "censored"], "unknown"
        )
        for row in np.flatnonzero(before != after).tolist():
            change = f"{DECISIONS[before[row]]} to {DECISIONS[after[row]]}"
            self._changed[change] += 1
            sample = {"change": change, "label": str(told_of[row]), "rules": names[row]}
            self._samples[change].append(sample | _payment(rows, row))
        for row, matched in enumerate(names):
            for name in matched:
                told = str(told_of[row])
                self._matched[name].update({"matched": 1, told: 1, "changed": int(before[row] != after[row])})

    def report(self) -> dict[str, Any]:
        """All sums; rules and lists that matched nothing are listed with zeros."""
        after = self._policies[1]
        names = [*(rule.name for rule in after.rules), *(found.name for found in after.lists)]
        kinds = ("matched", "changed", "fraud", "honest", "censored", "unknown")
        known = {name: self._rows[name] for name in ("fraud", "honest", "censored")}
        return {
            "rows": self._rows["rows"],
            "labels": known | {"unknown": self._rows["rows"] - sum(known.values())},
            "changed": dict(sorted(self._changed.items())),
            "rules": {name: {kind: self._matched[name][kind] for kind in kinds} for name in names},
            "before": self._sides[0].report(),
            "after": self._sides[1].report(),
            "errors": dict(sorted(self._errors.items())),
        }  # fmt: skip

    def samples(self) -> list[dict[str, Any]]:
        """Payments that ``after`` decides differently, of each kind of change those that were added last."""
        return [sample for change in sorted(self._samples) for sample in reversed(self._samples[change])]

    def _failed(self, name: str, error: Exception) -> None:
        self._errors[name] = f"{type(error).__name__}: {error}"


def _payment(rows: PastRows, row: int) -> dict[str, Any]:
    """What a person needs to look one up; None where the fields are not known."""
    score = float(rows.scores[row])
    named = {
        name: None if rows.columns is None or (column := rows.columns.column(name)) is None else column[row]
        for name in ("transaction_id", "tenant", "card_id", "merchant_id")
    }
    return {
        **named, "amount_minor": int(rows.amount_minor[row]), "currency": rows.currency[row],
        "score": None if np.isnan(score) else round(score, 4),
    }  # fmt: skip
