"""Money as people read it: with its currency's decimals, and no digits that are not known."""

from __future__ import annotations

import pytest

from features.currencies import CURRENCIES, DECIMALS, amount_text, money_text


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "EUR", "0.00 EUR"),
        (40, "EUR", "0.40 EUR"),
        (271_629, "EUR", "2,716.29 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (1_000, "JPY", "1,000 JPY"),
        (1_234, "KWD", "1.234 KWD"),
        (12_345, "CLF", "1.2345 CLF"),
        (2**40 - 1, "EUR", "10,995,116,277.75 EUR"),
        (1_299.6, "EUR", "13.00 EUR"),
        # nobody knows how many decimals these have
        (1_299, "XAU", "1,299 minor units of XAU"),
        (1_299, "XBT", "1,299 minor units of XBT"),
    ],
)
def test_an_amount_has_its_currency_s_decimals(minor: float, currency: str, text: str) -> None:
    assert money_text(minor, currency) == text


def test_single_precision_shows_no_cents_that_it_does_not_hold() -> None:
    assert amount_text(2.0**24 - 1, "EUR", single=True) == "167,772.15"
    assert amount_text(2.0**24, "EUR", single=True) == "167,772"
    assert amount_text(2.0**24, "EUR") == "167,772.16"


def test_every_active_currency_has_decimals_but_metals_and_units_of_account() -> None:
    assert set(DECIMALS.values()) == {0, 2, 3, 4}
    assert {"EUR", "XCG", "ZWG"} <= set(DECIMALS) < CURRENCIES
    assert {"XAU", "DEM", "ZMK"} <= CURRENCIES - set(DECIMALS)
    assert all(len(name) == 3 and name.isascii() and name.isupper() for name in CURRENCIES)
    assert amount_text(5, None) == "5 minor units"
