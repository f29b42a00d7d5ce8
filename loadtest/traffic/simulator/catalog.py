"""Tables of the simulated economy: countries, merchant categories, hours of the day, kinds of fraud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Country:
    """ISO 3166 code, ISO 4217 currency, centre in degrees, share of the cards issued there."""

    code: str
    currency: str
    latitude: float
    longitude: float
    weight: float


COUNTRIES = (
    Country("FR", "EUR", 46.6, 2.4, 0.24),
    Country("DE", "EUR", 51.0, 10.2, 0.22),
    Country("ES", "EUR", 40.2, -3.6, 0.12),
    Country("IT", "EUR", 43.0, 12.3, 0.11),
    Country("NL", "EUR", 52.2, 5.4, 0.06),
    Country("GB", "GBP", 52.4, -1.6, 0.12),
    Country("PL", "PLN", 52.0, 19.3, 0.06),
    Country("SE", "SEK", 59.5, 16.0, 0.03),
    Country("US", "USD", 39.5, -95.0, 0.03),
    Country("TR", "TRY", 39.2, 33.0, 0.01),
    # no card is issued in these two: travellers and fraudsters pay there. The last one appears only with country drift
    Country("TH", "THB", 14.5, 100.9, 0.0),
    Country("BR", "BRL", -20.5, -46.0, 0.0),
)
CODES = [country.code for country in COUNTRIES]
#: index of the country without traffic before ``Drift("country", …)``
NEW_COUNTRY = len(COUNTRIES) - 1
CITIES_PER_COUNTRY = 6

POS, ECOM, ATM, TRANSFER, MOTO = range(5)


@dataclass(frozen=True)
class Category:
    """ISO 18245 merchant category code, channel of its payments, median amount in minor units, spread of its logarithm."""

    mcc: str
    channel: int
    median_minor: float
    sigma: float
    weight: float


CATEGORIES = (
    Category("5411", POS, 2_400, 0.75, 0.30),  # grocery
    Category("5812", POS, 2_100, 0.65, 0.17),  # restaurants
    Category("5541", POS, 4_800, 0.45, 0.11),  # fuel
    Category("5912", POS, 1_500, 0.70, 0.08),  # pharmacies
    Category("5651", POS, 4_500, 0.80, 0.08),  # clothing
    Category("4111", POS, 450, 0.60, 0.08),  # local transport
    Category("5732", POS, 11_000, 0.90, 0.04),  # electronics
    Category("5944", POS, 9_000, 1.00, 0.02),  # jewellery
    Category("6011", ATM, 8_000, 0.65, 0.12),  # cash
    Category("5311", ECOM, 3_600, 0.90, 0.34),  # department stores
    Category("5816", ECOM, 900, 0.70, 0.18),  # digital goods, games
    Category("4722", ECOM, 16_000, 0.85, 0.08),  # travel
    Category("5045", ECOM, 13_000, 0.90, 0.09),  # computers
    Category("4899", ECOM, 1_300, 0.45, 0.17),  # subscriptions
    Category("4829", TRANSFER, 9_500, 1.00, 0.09),  # money transfer
    Category("5969", MOTO, 3_300, 0.75, 0.05),  # orders by mail or telephone
)
MCC = [category.mcc for category in CATEGORIES]
IS_ONLINE = np.array([c.channel in (ECOM, TRANSFER, MOTO) for c in CATEGORIES])
CHANNEL_OF = np.array([c.channel for c in CATEGORIES], dtype=np.int8)
LOG_MEDIAN = np.log([c.median_minor for c in CATEGORIES])
SIGMA = np.array([c.sigma for c in CATEGORIES])
#: categories whose goods fraudsters can resell
RESELLABLE = np.array([c.mcc in ("5732", "5944", "5045", "4829", "5816") for c in CATEGORIES])

FRAUD_KINDS = ("card_testing", "stolen_card", "account_takeover", "compromised_merchant", "bust_out")


def hour_profiles() -> npt.NDArray[np.float64]:
    """Acceptance probability by local hour for four kinds of people, shape (4, 24); the maximum of each row is 1."""
    hours = np.arange(24)

    def bump(centre: float, width: float) -> npt.NDArray[np.float64]:
        distance = np.minimum(np.abs(hours - centre), 24 - np.abs(hours - centre))
        out: npt.NDArray[np.float64] = np.exp(-0.5 * (distance / width) ** 2)
        return out

    office = 0.9 * bump(12.5, 1.6) + bump(18.5, 2.0) + 0.35 * bump(8, 1.2)
    home = bump(11, 3.0) + 0.7 * bump(16, 2.5)
    evening = 0.5 * bump(13, 2.5) + bump(20.5, 2.2)
    night = 0.4 * bump(15, 3.0) + bump(23.5, 2.8)
    stacked = np.stack([office, home, evening, night]) + 0.02
    profiles: npt.NDArray[np.float64] = stacked / stacked.max(axis=1, keepdims=True)
    return profiles
