"""Honest payments: habits, travel, and payments as numeric columns."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from loadtest.traffic.simulator import catalog
from loadtest.traffic.simulator.world import World

DAY_MS = 86_400_000
TRIP_BLOCK_DAYS = 30
TRIP_SHARE = 0.10
#: share of honest online payments made from a new device
FRESH_DEVICE_SHARE = 0.006
_PROFILES = catalog.hour_profiles()
_HOME_NET, _MOBILE_NET, _HOSTING_NET = 81 << 24, 37 << 24, 185 << 24

Ints = npt.NDArray[np.int64]


@dataclass
class Payments:
    """Columns of one length. ``device`` and ``ip`` are numbers (-1: absent); ``kind`` is -1 or an index of FRAUD_KINDS.

    ``event_ms`` is UTC since 1970, ``amount_minor`` in the currency of the card's country.
    """

    event_ms: Ints
    card: Ints
    merchant: Ints
    amount_minor: Ints
    channel: npt.NDArray[np.int8]
    country: npt.NDArray[np.int8]
    latitude: npt.NDArray[np.float32]
    longitude: npt.NDArray[np.float32]
    device: Ints
    ip: Ints
    kind: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.event_ms)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Payments:
        """The rows of an index array or a mask."""
        return Payments(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def join(parts: list[Payments]) -> Payments:
    """Concatenate payments."""
    return Payments(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Payments)})


def honest_payments(
    world: World, rng: np.random.Generator, start_ms: int, end_ms: int, count: int
) -> Payments:
    """``count`` payments in [start, end), not in order of time; each at an hour typical of its card."""
    event_ms, card = _moments(world, rng, start_ms, end_ms, count)
    merchant = _merchants(world, rng, event_ms, card)
    return payments_at(world, rng, event_ms, card, merchant)


def payments_at(
    world: World, rng: np.random.Generator, event_ms: Ints, card: Ints, merchant: Ints, factor: float = 1.0
) -> Payments:
    """Payments typical of their cards at given moments and merchants; ``factor`` scales the amounts."""
    shops = world.merchants
    category = shops.category[merchant]
    channel = catalog.CHANNEL_OF[category]
    log_amount = catalog.LOG_MEDIAN[category] + shops.log_price[merchant] + world.cards.log_spend[card]
    amount = factor * np.exp(log_amount + catalog.SIGMA[category] * rng.standard_normal(len(card)))
    device, ip = _devices(world, rng, card, channel)
    return Payments(
        event_ms=event_ms,
        card=card,
        merchant=merchant,
        amount_minor=to_minor(amount, channel),
        channel=channel,
        country=shops.country[merchant],
        latitude=shops.latitude[merchant],
        longitude=shops.longitude[merchant],
        device=device,
        ip=ip,
        kind=np.full(len(card), -1, dtype=np.int8),
    )


def to_minor(amount: npt.NDArray[np.floating], channel: npt.NDArray[np.int8]) -> Ints:
    """Integer minor units, at least 1; cash in multiples of ten major units."""
    notes = np.maximum(1000, np.rint(amount / 1000) * 1000)
    rounded: Ints = (
        np.where(channel == catalog.ATM, notes, np.rint(amount)).clip(1, 5_000_000).astype(np.int64)
    )
    return rounded


def fresh_devices(world: World, rng: np.random.Generator, count: int) -> Ints:
    """Numbers of devices that belong to no card."""
    return 2 * len(world.cards) + rng.integers(0, 2**31, count)


def hosting_ips(rng: np.random.Generator, count: int) -> Ints:
    """Addresses of rented machines, as 32-bit numbers."""
    return _HOSTING_NET + rng.integers(0, 1 << 16, count)


def _moments(
    world: World, rng: np.random.Generator, start_ms: int, end_ms: int, count: int
) -> tuple[Ints, Ints]:
    """Draw (moment, card) pairs by thinning: a pair is kept with the probability of the card's hour profile."""
    cumulative = np.cumsum(world.cards.rate)
    offset = np.array([round(c.longitude / 15) for c in catalog.COUNTRIES])
    event_ms, card = np.empty(count, np.int64), np.empty(count, np.int64)
    filled = 0
    for attempt in range(64):
        need = count - filled
        if need == 0:
            break
        drawn = min(int(need * 3.2) + 64, 4_000_000)
        moment = rng.integers(start_ms, end_ms, drawn)
        who = np.searchsorted(cumulative, rng.random(drawn) * cumulative[-1], side="right").clip(
            max=len(cumulative) - 1
        )
        hour = (moment // 3_600_000 + offset[world.cards.country[who]]) % 24
        # in an hour in which almost nobody pays, stop thinning so that the loop ends
        keep = (
            rng.random(drawn) < _PROFILES[world.cards.profile[who], hour]
            if attempt < 40
            else np.ones(drawn, bool)
        )
        moment, who = moment[keep][:need], who[keep][:need]
        event_ms[filled : filled + len(moment)] = moment
        card[filled : filled + len(who)] = who
        filled += len(moment)
    return event_ms, card


def _merchants(world: World, rng: np.random.Generator, event_ms: Ints, card: Ints) -> Ints:
    cards, shops, count = world.cards, world.merchants, len(card)
    online = rng.random(count) < cards.online_share[card]
    habit = rng.random(count) < 0.72
    rank = rng.random(count) ** 1.7
    city = cards.city[card].astype(np.int64)
    away = _destinations(world, event_ms, card)
    city = np.where(away >= 0, away, city)
    start, end = shops.city_start[city], shops.city_start[city + 1]
    any_near = start + (rng.random(count) * (end - start)).astype(np.int64)
    usual_near = cards.near[card, (rank * cards.near.shape[1]).astype(np.int64)]
    near = np.where(habit & (away < 0), usual_near, any_near)
    some = shops.online_from + (rng.random(count) ** 2 * (len(shops) - shops.online_from)).astype(np.int64)
    usual = cards.online[card, (rank * cards.online.shape[1]).astype(np.int64)]
    chosen: Ints = np.where(online, np.where(habit, usual, some), near).astype(np.int64)
    return chosen


def _destinations(world: World, event_ms: Ints, card: Ints) -> Ints:
    """The city to which a card has travelled at a moment, -1 if at home. Trips depend only on seed and block of days."""
    block_ms = TRIP_BLOCK_DAYS * DAY_MS
    block = event_ms // block_ms
    away = np.full(len(card), -1, dtype=np.int64)
    for number in np.unique(block):
        rng = np.random.default_rng([world.seed, 0x_7219, int(number)])
        total = len(world.cards)
        travels = rng.random(total) < TRIP_SHARE
        first = rng.random(total) * 0.7 * block_ms
        length = (3 + 7 * rng.random(total)) * DAY_MS
        city = rng.integers(0, catalog.NEW_COUNTRY * catalog.CITIES_PER_COUNTRY, total)
        rows = np.flatnonzero(block == number)
        who, into = card[rows], event_ms[rows] - int(number) * block_ms
        on_trip = travels[who] & (into >= first[who]) & (into < first[who] + length[who])
        away[rows[on_trip]] = city[who[on_trip]]
    return away


def _devices(
    world: World, rng: np.random.Generator, card: Ints, channel: npt.NDArray[np.int8]
) -> tuple[Ints, Ints]:
    count = len(card)
    remote = (channel == catalog.ECOM) | (channel == catalog.TRANSFER)
    customer = world.cards.customer[card].astype(np.int64)
    device = 2 * customer + (rng.random(count) < 0.2)
    fresh = rng.random(count) < FRESH_DEVICE_SHARE
    device = np.where(fresh, fresh_devices(world, rng, count), device)
    mobile = rng.random(count) < 0.25
    ip = np.where(
        mobile, _MOBILE_NET + rng.integers(0, 256, count), _HOME_NET + customer * 2_654_435 % (1 << 24)
    )
    return np.where(remote, device, -1), np.where(remote, ip, -1)
