"""Findings of a comparison of log and store: counts, and a few examples as text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Findings of one comparison. All counts but ``transactions`` and ``counted`` must be 0; ``examples`` lists violations."""

    transactions: int = 0
    #: features records that count: the first of each source offset, in the order in which scoring reads them
    counted: int = 0
    missing: int = 0
    doubled: int = 0
    #: profiles whose bytes differ from the oracle's
    differing: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.doubled or self.differing)

    def note(self, what: str, missing: int = 0, doubled: int = 0, differing: int = 0) -> None:
        self.missing += missing
        self.doubled += doubled
        self.differing += differing
        if len(self.examples) < 12:
            self.examples.append(what)
