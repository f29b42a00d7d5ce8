"""Fraud, by the field's kinds. Each kind is generated as campaigns of several payments over some time.

A campaign longer than half of the simulated span is shortened to it, so that a short run contains whole campaigns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loadtest.traffic.simulator import catalog
from loadtest.traffic.simulator.payments import (
    Ints,
    Payments,
    fresh_devices,
    hosting_ips,
    join,
    payments_at,
    to_minor,
)
from loadtest.traffic.simulator.world import World

HOUR_MS = 3_600_000
#: each kind's share of the fraudulent payments
SHARES = {
    "card_testing": 0.26,
    "stolen_card": 0.24,
    "account_takeover": 0.24,
    "compromised_merchant": 0.12,
    "bust_out": 0.14,
}


def fraud_payments(
    world: World, rng: np.random.Generator, kind: str, start_ms: int, end_ms: int, wanted: int
) -> Payments:
    """About ``wanted`` payments of one kind in [start, end), as campaigns, not in order of time.

    Raises:
        KeyError: the kind is unknown (``compromise`` generates compromised merchants).
    """
    make, mean_size = _MAKERS[kind]
    campaigns = int(wanted / mean_size) + (rng.random() < wanted / mean_size % 1)
    if campaigns == 0 or end_ms <= start_ms:
        return payments_at(world, rng, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
    out = make(world, rng, campaigns, start_ms, end_ms)
    out.kind[:] = catalog.FRAUD_KINDS.index(kind)
    return out.take((out.event_ms >= start_ms) & (out.event_ms < end_ms))


def compromise(
    world: World, rng: np.random.Generator, payments: Payments, start_ms: int, end_ms: int, wanted: int
) -> None:
    """Turn about ``wanted`` honest payments, at a few merchants for some days each, into fraud with copied cards, in place."""
    shops = world.merchants
    inside = np.flatnonzero(
        (payments.event_ms >= start_ms) & (payments.event_ms < end_ms) & (payments.kind < 0)
    )
    if wanted <= 0 or len(inside) == 0:
        return
    length = min(14 * 24 * HOUR_MS, end_ms - start_ms)
    done = 0
    order = rng.permutation(len(shops))
    by_merchant = inside[np.argsort(payments.merchant[inside], kind="stable")]
    bounds = np.searchsorted(payments.merchant[by_merchant], np.arange(len(shops) + 1))
    for merchant in order:
        rows = by_merchant[bounds[merchant] : bounds[merchant + 1]]
        since = start_ms + rng.random() * max(end_ms - start_ms - length, 1)
        moment = payments.event_ms[rows]
        rows = rows[(moment >= since) & (moment < since + length) & (rng.random(len(rows)) < 0.6)]
        # a very busy merchant would become a single giant campaign
        if len(rows) == 0 or len(rows) > max(wanted // 2, 4):
            continue
        payments.kind[rows] = catalog.FRAUD_KINDS.index("compromised_merchant")
        raised = payments.amount_minor[rows] * rng.uniform(1.0, 2.4, len(rows))
        payments.amount_minor[rows] = to_minor(raised, payments.channel[rows])
        done += len(rows)
        if done >= wanted:
            return


def _spread(
    rng: np.random.Generator, size: Ints, start_ms: int, end_ms: int, typical_ms: float
) -> tuple[Ints, Ints]:
    """(campaign, moment) of each payment: campaigns begin at random and last about ``typical_ms``."""
    length = min(typical_ms, (end_ms - start_ms) / 2) * rng.uniform(0.4, 1.6, len(size))
    first = rng.uniform(start_ms, np.maximum(end_ms - length, start_ms + 1))
    campaign = np.repeat(np.arange(len(size)), size)
    moment = first[campaign] + rng.random(len(campaign)) * length[campaign]
    return campaign, moment.astype(np.int64)


def _card_testing(
    world: World, rng: np.random.Generator, campaigns: int, start_ms: int, end_ms: int
) -> Payments:
    """One machine tests many stolen numbers with tiny amounts at one shop; valid ones buy goods hours later."""
    size = rng.integers(8, 26, campaigns)
    campaign, moment = _spread(rng, size, start_ms, end_ms, 0.5 * HOUR_MS)
    shops = world.merchants
    online = np.arange(shops.online_from, len(shops))
    ecom = online[catalog.CHANNEL_OF[shops.category[online]] == catalog.ECOM]
    card = rng.integers(0, len(world.cards), len(campaign))
    tests = payments_at(world, rng, moment, card, rng.choice(ecom, campaigns)[campaign])
    tests.amount_minor[:] = rng.integers(20, 260, len(campaign))
    tests.device[:] = fresh_devices(world, rng, campaigns)[campaign]
    tests.ip[:] = hosting_ips(rng, campaigns)[campaign]
    good = np.flatnonzero(rng.random(len(campaign)) < 0.3)
    later = min(4 * HOUR_MS, (end_ms - start_ms) / 4) * rng.uniform(0.1, 1.0, len(good))
    goods = ecom[catalog.RESELLABLE[shops.category[ecom]]]
    buys = payments_at(
        world, rng, moment[good] + later.astype(np.int64), card[good], rng.choice(goods, len(good)), 1.8
    )
    buys.device[:] = fresh_devices(world, rng, campaigns)[campaign[good]]
    buys.ip[:] = tests.ip[good]
    return join([tests, buys])


def _stolen_card(
    world: World, rng: np.random.Generator, campaigns: int, start_ms: int, end_ms: int
) -> Payments:
    """The stolen card is used far away while its owner keeps paying at home: impossible travel."""
    campaign, moment = _spread(rng, rng.integers(2, 7, campaigns), start_ms, end_ms, 5 * HOUR_MS)
    card = _active_cards(world, rng, campaigns)[campaign]
    home = world.cards.city[card]
    near = rng.random(campaigns) < 0.25  # some thieves stay in the victim's town
    city = rng.integers(0, catalog.NEW_COUNTRY * catalog.CITIES_PER_COUNTRY, campaigns)[campaign]
    city = np.where(near[campaign], home, city)
    start, end = world.merchants.city_start[city], world.merchants.city_start[city + 1]
    merchant = start + (rng.random(len(card)) * (end - start)).astype(np.int64)
    return payments_at(world, rng, moment, card, merchant, 2.2)


def _account_takeover(
    world: World, rng: np.random.Generator, campaigns: int, start_ms: int, end_ms: int
) -> Payments:
    """A fraudster logs in: new device, new IP address, fast transfers."""
    campaign, moment = _spread(rng, rng.integers(2, 7, campaigns), start_ms, end_ms, 3 * HOUR_MS)
    card = _active_cards(world, rng, campaigns)[campaign]
    shops = world.merchants
    online = np.arange(shops.online_from, len(shops))
    goods = online[catalog.RESELLABLE[shops.category[online]]]
    out = payments_at(world, rng, moment, card, rng.choice(goods, len(card)), 2.0)
    out.device[:] = fresh_devices(world, rng, campaigns)[campaign]
    # one in three hides behind the victim's own network
    hidden = (rng.random(campaigns) < 0.33)[campaign]
    out.ip[:] = np.where(hidden & (out.ip >= 0), out.ip, hosting_ips(rng, campaigns)[campaign])
    return out


def _bust_out(world: World, rng: np.random.Generator, campaigns: int, start_ms: int, end_ms: int) -> Payments:
    """The owner never intends to repay: after honest weeks the limit is spent in days, at home, on the usual device."""
    campaign, moment = _spread(rng, rng.integers(8, 24, campaigns), start_ms, end_ms, 60 * HOUR_MS)
    card = _active_cards(world, rng, campaigns)[campaign]
    shops = world.merchants
    city = world.cards.city[card]
    start, end = shops.city_start[city], shops.city_start[city + 1]
    near = start + (rng.random(len(card)) * (end - start)).astype(np.int64)
    online = np.arange(shops.online_from, len(shops))
    goods = rng.choice(online[catalog.RESELLABLE[shops.category[online]]], len(card))
    return payments_at(world, rng, moment, card, np.where(rng.random(len(card)) < 0.55, goods, near), 3.2)


def _active_cards(world: World, rng: np.random.Generator, count: int) -> Ints:
    """Draw cards in proportion to their payment rate: cards in use get stolen."""
    cumulative = np.cumsum(world.cards.rate)
    drawn: npt.NDArray[np.int64] = np.searchsorted(
        cumulative, rng.random(count) * cumulative[-1], side="right"
    )
    return drawn.clip(max=len(cumulative) - 1)


_MAKERS: dict[str, tuple[Callable[[World, np.random.Generator, int, int, int], Payments], float]] = {
    "card_testing": (_card_testing, 21.5),
    "stolen_card": (_stolen_card, 4.0),
    "account_takeover": (_account_takeover, 4.0),
    "bust_out": (_bust_out, 15.5),
}
