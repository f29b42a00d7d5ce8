"""What an entry of the catalogue says of itself, and which part of it is its identity. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Entity = Literal["transaction", "card", "customer", "merchant", "device", "ip"]
#: the profile that a value is read from: a payer's frauds and declines are kept apart from its payments
Source = Literal[
    "transaction", "card", "customer", "card_frauds", "customer_frauds", "merchant", "device", "ip"
]
#: what becomes uncertain of a value when the log has lost its oldest records (``streams.audit.parity.truncation``):
#: nothing · what lies further back than ``look_back_s`` · also what older payments of the payer decide (which of its payments are
#: kept one by one) · also the last bit, since that decides the order of a sum · only what is older than the last payment
Truncation = Literal["nothing", "look_back", "payments", "spread", "last_payment"]


@dataclass(frozen=True)
class Feature:
    """One entry of the catalogue.

    ``version`` is raised when the same facts give other values than before, because a kernel changed (``features/ADDING.md``).
    Of several entries that one line declares, all get the new version.

    ``source``: the profile that the value is read from, ``reads`` its fields, ``state_bytes`` how long these are. ``tile_s``: the
    window is made of whole tiles of so many seconds; 0: it is exact to the millisecond. ``label_delay_s``: the window ended so long
    before the payment. ``look_back_s``: how far behind the payment an event can still count; None: without limit.
    ``known_late_s``: how far behind the newest event of its profile a payment may be for the value to be known; None: any time.
    ``needs_transaction``: the value depends on more of the payment than its event time, so it cannot be given for an entity alone.
    ``default``: what an entity has of which nothing is known (NaN: unknown). ``uses_labels``: reported frauds change it.

    ``error``, ``lateness``, ``reason_code`` and ``reason_text`` are for people; ``exact`` says that there is no error to state.
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
    def column(self) -> str:
        """The entry's column in the archive. Values of an older version stay in a column of their own."""
        return self.name if self.version == 1 else f"{self.name}_v{self.version}"

    @property
    def definition(self) -> str:
        """8 hex digits over the entry's identity: its name, its version and what its value is computed from.

        Texts are not part of it, nor are the facts that describe a value without changing it.
        """
        identity = (
            self.name, self.version, self.entity, self.source, self.unit, self.window_s, self.tile_s, self.label_delay_s,
            self.look_back_s, float(self.default), self.uses_labels,
        )  # fmt: skip
        return hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
