"""A world of cards and merchants: where, when, how and how much cards pay. Arrays only; the same seed gives the same world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest.traffic.simulator import catalog

#: mean number of payments per card and day
PAYMENTS_PER_DAY = 1.8
DEFAULT_CARDS = 2_500
FAVOURITES_NEAR = 8
FAVOURITES_ONLINE = 5
_LETTERS = "bcdfghjkmnpqrstvwxz"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def letters(number: int, width: int) -> str:
    """A number as ``width`` consonants, so that identifiers contain no long digit strings (card numbers are refused)."""
    out = []
    for _ in range(width):
        number, digit = divmod(number, len(_LETTERS))
        out.append(_LETTERS[digit])
    return "".join(reversed(out))


@dataclass(frozen=True)
class Merchants:
    """Arrays of shape (merchants,). Merchants of one city are adjacent; online merchants are last, from ``online_from`` on."""

    category: npt.NDArray[np.int8]
    country: npt.NDArray[np.int8]
    latitude: npt.NDArray[np.float32]
    longitude: npt.NDArray[np.float32]
    log_price: Floats
    city_start: Ints
    online_from: int

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Cards:
    """Arrays of shape (cards,), favourites (cards, k). ``rate``: payments a day; ``log_spend``: offset of log amounts."""

    customer: npt.NDArray[np.int32]
    country: npt.NDArray[np.int8]
    city: npt.NDArray[np.int32]
    rate: Floats
    online_share: Floats
    log_spend: Floats
    profile: npt.NDArray[np.int8]
    near: npt.NDArray[np.int32]
    online: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.customer)


@dataclass(frozen=True)
class World:
    """The constant part of a simulation. ``tag`` makes identifiers of different seeds distinct."""

    seed: int
    tag: str
    cards: Cards
    merchants: Merchants

    @property
    def payments_per_second(self) -> float:
        """Payments of all cards together per second of simulated time."""
        return float(self.cards.rate.sum()) / 86_400


def create_world(seed: int, cards: int = DEFAULT_CARDS) -> World:
    """Build the world of a seed.

    Raises:
        ValueError: ``cards`` is not between 1 and 10 million, or the seed is negative.
    """
    if not 1 <= cards <= 10_000_000:
        raise ValueError(f"a world has 1 to 10,000,000 cards, not {cards}")
    if seed < 0:
        raise ValueError(f"a seed is not negative: {seed}")
    rng = np.random.default_rng([seed, 0x_57_0A])
    merchants = _merchants(rng, max(720, cards // 20))
    tag = letters(int(np.random.default_rng([seed, cards]).integers(len(_LETTERS) ** 4)), 4)
    return World(seed, tag, _cards(rng, cards, merchants), merchants)


def _merchants(rng: np.random.Generator, count: int) -> Merchants:
    cities = len(catalog.COUNTRIES) * catalog.CITIES_PER_COUNTRY
    online = count // 6
    per_city = np.full(cities, (count - online) // cities)
    start = np.concatenate([[0], np.cumsum(per_city)])
    city = np.repeat(np.arange(cities), per_city)
    near = len(city)
    country = np.concatenate([city // catalog.CITIES_PER_COUNTRY, _online_countries(rng, online)])
    weights = np.array([c.weight for c in catalog.CATEGORIES])
    near_weights = np.where(catalog.IS_ONLINE, 0, weights)
    online_weights = np.where(catalog.IS_ONLINE, weights, 0)
    category = np.concatenate([
        rng.choice(len(weights), near, p=near_weights / near_weights.sum()),
        rng.choice(len(weights), online, p=online_weights / online_weights.sum()),
    ])  # fmt: skip
    centre_lat, centre_lon = _city_centres(rng)
    return Merchants(
        category=category.astype(np.int8),
        country=country.astype(np.int8),
        latitude=np.concatenate(
            [centre_lat[city] + rng.normal(0, 0.06, near), np.full(online, np.nan)]
        ).astype(np.float32),
        longitude=np.concatenate(
            [centre_lon[city] + rng.normal(0, 0.08, near), np.full(online, np.nan)]
        ).astype(np.float32),
        log_price=rng.normal(0, 0.3, near + online),
        city_start=start,
        online_from=near,
    )


def _city_centres(rng: np.random.Generator) -> tuple[Floats, Floats]:
    per = catalog.CITIES_PER_COUNTRY
    lat = np.repeat([c.latitude for c in catalog.COUNTRIES], per) + rng.normal(
        0, 1.4, len(catalog.COUNTRIES) * per
    )
    lon = np.repeat([c.longitude for c in catalog.COUNTRIES], per) + rng.normal(
        0, 1.7, len(catalog.COUNTRIES) * per
    )
    return lat, lon


def _online_countries(rng: np.random.Generator, count: int) -> Ints:
    weights = np.array([c.weight for c in catalog.COUNTRIES])
    return rng.choice(len(weights), count, p=weights / weights.sum())


def _cards(rng: np.random.Generator, count: int, merchants: Merchants) -> Cards:
    weights = np.array([c.weight for c in catalog.COUNTRIES])
    # one customer in eight holds two cards
    customers = max(1, count * 8 // 9)
    customer = np.concatenate([np.arange(customers), rng.integers(0, customers, count - customers)])
    home = rng.choice(len(weights), customers, p=weights / weights.sum()) * catalog.CITIES_PER_COUNTRY
    city = (home + rng.integers(0, catalog.CITIES_PER_COUNTRY, customers))[customer]
    start, end = merchants.city_start[city], merchants.city_start[city + 1]
    near = start[:, None] + rng.random((count, FAVOURITES_NEAR)) * (end - start)[:, None]
    shops = len(merchants) - merchants.online_from
    online = merchants.online_from + rng.random((count, FAVOURITES_ONLINE)) ** 2 * shops
    rate = rng.gamma(2.2, PAYMENTS_PER_DAY / 2.2, count).clip(0.05, 12)
    return Cards(
        customer=customer.astype(np.int32),
        country=(city // catalog.CITIES_PER_COUNTRY).astype(np.int8),
        city=city.astype(np.int32),
        rate=rate,
        online_share=rng.beta(2.0, 4.0, count),
        log_spend=rng.normal(0, 0.35, count),
        profile=rng.choice(4, count, p=[0.45, 0.25, 0.22, 0.08]).astype(np.int8),
        near=near.astype(np.int32),
        online=online.astype(np.int32),
    )
