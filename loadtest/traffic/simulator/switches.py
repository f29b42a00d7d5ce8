"""Changes that start at a given moment: drift of honest traffic, or an attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.traffic.simulator import catalog
from loadtest.traffic.simulator.payments import Payments, to_minor
from loadtest.traffic.simulator.world import World

DRIFT_KINDS = ("amounts", "channels", "country")


@dataclass(frozen=True)
class Drift:
    """Changes honest traffic from ``at_ms`` on (UTC since 1970). ``strength`` 1 is a clearly visible change.

    ``amounts``: all amounts are multiplied by 1 + strength. ``channels``: strength x 60 % of the in-store payments
    move online. ``country``: strength x 30 % of the in-store payments move to a new country.
    """

    kind: str
    at_ms: int
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in DRIFT_KINDS:
            raise ValueError(f"drift must be one of {', '.join(DRIFT_KINDS)}, not {self.kind!r}")
        if not 0 < self.strength <= 10:
            raise ValueError(f"strength is above 0 and at most 10, not {self.strength}")


@dataclass(frozen=True)
class Attack:
    """From ``at_ms`` on, one kind of fraud adds ``strength`` x 5 % of all payments to its usual share."""

    kind: str
    at_ms: int
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in catalog.FRAUD_KINDS:
            raise ValueError(f"an attack must be one of {', '.join(catalog.FRAUD_KINDS)}, not {self.kind!r}")
        if not 0 < self.strength <= 10:
            raise ValueError(f"strength is above 0 and at most 10, not {self.strength}")


ATTACK_SHARE = 0.05


def apply_drift(world: World, rng: np.random.Generator, payments: Payments, drift: Drift) -> None:
    """Apply a drift to the honest payments from its moment on, in place."""
    rows = np.flatnonzero(payments.event_ms >= drift.at_ms)
    if drift.kind == "amounts":
        raised = payments.amount_minor[rows] * (1.0 + drift.strength)
        payments.amount_minor[rows] = to_minor(raised, payments.channel[rows])
        return
    at_till = rows[payments.channel[rows] == catalog.POS]
    share = min(1.0, drift.strength * (0.6 if drift.kind == "channels" else 0.3))
    moved = at_till[rng.random(len(at_till)) < share]
    shops = world.merchants
    if drift.kind == "channels":
        where = shops.online_from + rng.integers(0, len(shops) - shops.online_from, len(moved))
        customer = world.cards.customer[payments.card[moved]].astype(np.int64)
        payments.device[moved] = 2 * customer
    else:
        first = shops.city_start[catalog.NEW_COUNTRY * catalog.CITIES_PER_COUNTRY]
        where = rng.integers(first, shops.online_from, len(moved))
    payments.merchant[moved] = where
    payments.country[moved] = shops.country[where]
    payments.channel[moved] = catalog.CHANNEL_OF[shops.category[where]]
    payments.latitude[moved] = shops.latitude[where]
    payments.longitude[moved] = shops.longitude[where]
