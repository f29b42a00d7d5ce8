"""A catalogue entry: its facts, and the facts that are its identity. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

Entity = Literal["transaction", "card", "customer", "merchant", "device", "ip"]
#: the profile that a value is read from; a payer's frauds and declines have a profile of their own
Source = Literal[
    "transaction", "card", "customer", "card_frauds", "customer_frauds", "merchant", "device", "ip"
]
#: which older events a value can depend on when the log has lost its oldest records (``streams.audit.parity.truncation``):
#: none · those within ``look_back_s`` · also older payments of the payer, since they decide which payments are kept one by one ·
#: the same, and the order of a sum, which changes its last bit · only the last payment
Truncation = Literal["nothing", "look_back", "payments", "spread", "last_payment"]
#: the unit of money. Of the payment itself they are its currency's; of the past, of any currency, added as they are
MINOR_UNITS = "minor units"
_PLACE = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class Feature:
    """One entry of the catalogue.

    ``version`` is raised when a changed kernel gives other values for the same facts (``features/ADDING.md``). If one line declares
    several entries, all of them get the new version.

    ``source``: the profile that the value is read from; ``reads``: the fields; ``state_bytes``: their size. ``tile_s``: size of the
    window's tiles in seconds; 0: the window is exact to the millisecond. ``label_delay_s``: seconds from the window's end to the
    payment. ``look_back_s``: seconds before the payment within which an event can count; None: no limit. ``known_late_s``: seconds
    that a payment may be behind its profile's newest event for the value to be known; None: no limit. ``needs_transaction``: the
    value depends on more of the payment than its event time, so an entity alone has none. ``default``: value for an entity without
    history (NaN: unknown). ``uses_labels``: reported frauds change it.

    ``error``, ``lateness``, ``reason_code`` and ``reason_text`` are for people. ``reason_text`` has a place for the ``value``, or for
    the ``money`` that it is. ``exact``: there is no error to state.
    """

    name: str
    version: int
    entity: Entity
    source: Source
    unit: str
    window_s: int
    tile_s: int
    label_delay_s: int
    look_back_s: int | None
    default: float
    uses_labels: bool
    needs_transaction: bool
    truncation: Truncation
    known_late_s: int | None
    exact: bool
    error: str
    lateness: str
    reads: tuple[str, ...]
    state_bytes: int
    reason_code: str
    reason_text: str

    @property
    def description(self) -> str:
        """What it is, for people: its reason with N for the value."""
        return _PLACE.sub("N", self.reason_text)

    @property
    def column(self) -> str:
        """The entry's column in the archive. Each version has its own column."""
        return self.name if self.version == 1 else f"{self.name}_v{self.version}"

    @property
    def definition(self) -> str:
        """8 hex digits over the entry's identity: its name, its version and the facts that its value is computed from.

        Texts, and facts that describe a value without changing it, are not part of it.
        """
        identity = (
            self.name, self.version, self.entity, self.source, self.unit, self.window_s, self.tile_s, self.label_delay_s,
            self.look_back_s, float(self.default), self.uses_labels,
        )  # fmt: skip
        return hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
