"""Reasons in words: money in the payment's currency, and of the past only as if it had been in that one."""

from __future__ import annotations

import pytest

from features.catalogue import FEATURES
from features.feature import MINOR_UNITS, Feature
from models.scoring.words import words_of

MONEY = [feature for feature in FEATURES if feature.unit == MINOR_UNITS]


def test_no_reason_speaks_of_minor_units() -> None:
    assert len(MONEY) > 20
    for feature in FEATURES:
        _, text, _ = words_of(feature)(3.0, 0.5, "EUR")
        assert "minor" not in text and "{" not in text
        assert "{" not in feature.description and "minor" not in feature.description


@pytest.mark.parametrize("feature", MONEY, ids=lambda feature: feature.name)
def test_money_says_what_is_known_of_its_currency(feature: Feature) -> None:
    code, text, contribution = words_of(feature)(271_629.0, 0.5, "EUR")
    assert (code, contribution) == (feature.reason_code, 0.5) and "2,716.29" in text
    # payments before this one may have been in other currencies: what is stored does not say
    own = feature.source == "transaction"
    assert ("2,716.29 EUR" in text) == own and text.endswith(", all taken as EUR") != own


@pytest.mark.parametrize("feature", MONEY, ids=lambda feature: feature.name)
def test_without_a_currency_they_are_minor_units(feature: Feature) -> None:
    _, text, _ = words_of(feature)(271_629.0, 0.5, None)
    assert "271,629 minor units" in text and "taken as" not in text
