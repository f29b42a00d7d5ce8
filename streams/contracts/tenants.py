"""Which tenants a stack knows, and which attributes of their own they may send.

A tenant is the producer's own word; with a registry in the settings only known ones are taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from features.attributes import NO_ATTRIBUTES, Attributes
from features.transaction import Transaction
from streams.contracts.invalid_event import InvalidEvent


@dataclass(frozen=True)
class Tenants:
    """``known``: the tenants of the stack, empty: any. ``instead``: the known tenant for which others' events count; empty: refused.
    ``attributes``: those that their transactions may carry."""

    known: frozenset[str] = frozenset()
    instead: str = ""
    attributes: Attributes = NO_ATTRIBUTES

    def __post_init__(self) -> None:
        if self.instead and self.instead not in self.known:
            raise ValueError(f"unknown_tenant is one of tenants, not {self.instead!r}")

    def knows(self, transactions: Iterable[Transaction]) -> bool:
        """Whether the tenants of all are known. Without a registry nobody is looked at."""
        return not self.known or self.known.issuperset({tx.tenant for tx in transactions})

    def admitted(self, tenant: str) -> str:
        """The tenant for which an event counts.

        Raises:
            InvalidEvent: ``tenant``, it is unknown.
        """
        if not self.known or tenant in self.known:
            return tenant
        if not self.instead:
            raise InvalidEvent(
                "tenant",
                "tenant",
                f"tenant {tenant!r} is not known here: add it to `tenants` in settings.json",
            )
        return self.instead


ANY_TENANT = Tenants()
