"""Conditions that can never be true, or always are, are refused with what was probably meant; natural ones are not."""

from __future__ import annotations

import re

import pytest

from models.policy.rules.checking import rule_errors
from models.policy.rules.rule import Rule

NEVER = [
    # ranges
    ("hour BETWEEN 22 AND 5", "never true: 22 is more than 5; did you mean hour >= 22 OR hour <= 5"),
    ("amount_minor BETWEEN 500 AND 100", "did you mean amount_minor BETWEEN 100 AND 500"),
    ("hour >= 22 AND hour <= 5", "never true together with `hour >= 22`; did you mean hour >= 22 OR hour <= 5"),
    ("amount_minor > 500 AND night = 1 AND amount_minor < 100", "together with `amount_minor > 500`"),
    ("2 * amount_minor > 10 AND amount_minor < 6", "never true together with"),
    ("card_count_1h > 3 AND NOT card_count_1h > 2", "never true together with"),
    ("card_count_1h > 4 AND card_count_1h < 5", "never true together with"),
    ("card_count_1h > 5 AND card_count_24h < 3", "never true together with"),
    ("card_count_1h > card_count_24h", "the window of card_count_24h contains"),
    ("card_max_24h < card_max_10m", "the window of card_max_24h contains"),
    # values outside of a range
    ("hour = 24", "from 0 to 23; did you mean 0"),
    ("24 = hour", "did you mean 0"),
    ("hour IN (22, 23, 24)", "names 24, .*did you mean 22 and 23 and 0"),
    ("hour BETWEEN 18 AND 24", "names 24, .*did you mean hour BETWEEN 18 AND 23"),
    ("hour BETWEEN 20 AND 26", "names 26, .*did you mean hour >= 20 OR hour <= 2"),
    ("weekday = 7", "0 is Monday.*did you mean 6"),
    ("amount_minor < 0", "from 0 to 1099511627775"),
    ("amount_minor = 12.99", "did you mean 1299"),
    ("card_count_1h = 2.5", "a whole number from 0 on"),
    ("score > 50", "from 0 to 1; did you mean 0.5"),
    ("score BETWEEN 20 AND 50", "did you mean score BETWEEN 0.2 AND 0.5"),
    ("merchant_fraud_rate_30d >= 5", "did you mean 0.05"),
    ("card_new_device = 2", "from 0 to 1"),
    ("latitude > 90", "from -90 to 90"),
    ("abs(longitude) > 200", "from 0 to 180"),
    ("coalesce(card_frauds_30d, 0) < 0", "from 0 on"),
    ("features.channel = 5", "0 pos, 1 ecom"),
    ("card_merchants_7d > 50", "from 0 to 41"),
    ("hour > 30 + weekday", "never true"),
    ("amount_minor IS NULL", "every payment has amount_minor"),
    # values outside of a field's codes
    ("currency = 'eur'", "did you mean 'EUR'"),
    ("currency = 'EURO'", "did you mean 'EUR'"),
    ("currency = '€'", "did you mean 'EUR'"),
    ("channel = 'POS'", "channels are pos, ecom, atm, transfer, moto; did you mean 'pos'"),
    ("channel = 'web'", "did you mean 'ecom'"),
    ("channel IN ('POS', 'Atm')", "never true: .*did you mean 'atm', 'pos'"),
    ("country = 'UK'", "did you mean 'GB'"),
    ("country = 'XX'", "ISO 3166"),
    ("country = 'FRA'", "did you mean 'FR'"),
    ("country IN ('FR', 'de')", "names 'de', .*did you mean 'DE'"),
    ("mcc = '742'", "four digits; did you mean '0742'"),
    ("mcc = 'food'", "four digits"),
    ("ip = '2001:DB8::1'", "did you mean '2001:db8::1'"),
    ("ip = '::ffff:203.0.113.7'", "did you mean '203.0.113.7'"),
    ("ip = '203.0.113.0/24'", "list of ip"),
    ("ip = '999.1.1.1'", "is not an IPv4 or IPv6 address"),
    ("ip LIKE '2001:DB8%'", "did you mean '2001:db8'"),
    ("card_id = 'c-1 '", "does not begin or end with a blank; did you mean 'c-1'"),
    ("device_id LIKE ' d-%'", "did you mean 'd-'"),
    ("currency LIKE 'eu%'", "did you mean 'EU'"),
    ("merchant_id = ''", "is blank"),
    (f"merchant_id = '{'m' * 65}'", "more than 64"),
    # parts that exclude each other
    ("country = 'FR' AND country = 'DE'", r"did you mean country IN \('FR', 'DE'\)"),
    ("country = 'FR' AND country <> 'FR'", "never true together with"),
    ("country = 'FR' AND country IS NULL", "never true together with"),
    ("device_id IS NULL AND device_id LIKE 'emu-%'", "never true together with"),
    ("device_id LIKE 'ab%' AND device_id LIKE 'cd%'", "never true together with"),
    ("card_speed_kmh IS NULL AND card_speed_kmh > 900", "never true together with"),
    ("country = 'FR' AND (country = 'DE' OR night = 1)", "`country = 'DE'` is never true together"),
    ("night = 1 OR (hour < 3 AND hour > 5)", "`hour > 5` is never true together"),
    ("(hour = 1 OR hour = 2) AND (hour = 3 OR hour = 4)", "no payment fits all"),
]  # fmt: skip
ALWAYS = [
    ("currency <> 'eur'", "always true: .*'EUR'"),
    ("NOT channel = 'POS'", "always true"),
    ("country NOT IN ('fr', 'de')", "always true"),
    ("device_id NOT LIKE 'd-%' OR device_id LIKE 'd-%'", "always true where device_id is known"),
    ("hour <> 24", "always true"),
    ("hour NOT BETWEEN 22 AND 5", "always true"),
    ("amount_minor >= 0", "always true: to decide about all payments, set thresholds"),
    ("score <= 1", "always true where score is known"),
    ("hour >= 0 AND hour <= 23", "always true"),
    ("country <> 'FR' OR country <> 'DE'", r"did you mean country NOT IN \('FR', 'DE'\)"),
    ("amount_minor > 5000 AND (country <> 'FR' OR country <> 'DE')", "did you mean country NOT IN"),
    ("amount_minor > 5 OR amount_minor < 9", "always true; did you mean AND"),
    ("channel IN ('pos', 'ecom', 'atm', 'transfer', 'moto')", "always true where channel is known"),
]
NATURAL = [
    "hour >= 0 AND hour < 6", "hour NOT BETWEEN 6 AND 22", "amount_minor >= 0 AND amount_minor < 500", "hour >= 22 OR hour <= 5",
    "card_count_1h >= 5", "card_sum_1h > card_sum_24h / 2", "card_count_24h > card_count_1h", "score > 0", "score >= 0.2",
    "card_count_1h > 5 AND card_count_24h < 7", "ip LIKE '203.0.113.%'", "device_id LIKE '% d %'", "card_id LIKE 'emu-%'",
    "country <> 'FR' AND country <> 'DE'", "country = 'XK'", "card_amount_zscore_30d < -3", "NOT (country = 'FR' OR country = 'DE')",
    "(country = 'FR' AND channel = 'pos') OR (country = 'DE' AND channel = 'ecom')", "device_id IS NOT NULL", "score IS NULL",
    "card_hour_share >= 0.1 AND card_hour_share <= 0.10000000001", "amount_minor / hour IS NULL", "features.mcc = 5411",
    "mcc = '5411' AND features.mcc = 5411", "-latitude > 1", "3 - hour > 2", "card_id = 'it''s'", "card_id = 'naïve'",
    "(hour = 1 OR country = 'FR') AND (hour = 2 OR country = 'DE')", "card_mean_30d > amount_minor", "amount_minor > 3 * card_mean_30d",
]  # fmt: skip


def errors(when: str, **more: object) -> list[str]:
    return rule_errors(Rule("r", when, "review", "ann", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(("when", "says"), [*NEVER, *ALWAYS])
def test_what_can_never_be_is_refused_with_what_was_meant(when: str, says: str) -> None:
    (error,) = errors(when)
    assert error.startswith("rule r at character ")
    assert re.search(says, error), error


@pytest.mark.parametrize("when", NATURAL)
def test_natural_conditions_are_good(when: str) -> None:
    assert errors(when) == []


def test_all_errors_of_a_condition_are_named() -> None:
    found = errors("hour = 24 OR (currency = 'eur' AND country = 'UK')")
    assert [error.partition("`")[2].partition("`")[0] for error in found] == [
        "hour = 24", "currency = 'eur'", "country = 'UK'",
    ]  # fmt: skip
    found = errors("hour BETWEEN 22 AND 5 OR foo(amount_minor) > 2 OR (huor = 1 AND NOT currency = 'eur')")
    assert sorted(error.partition("`")[2].partition("`")[0] for error in found) == [
        "FOO(amount_minor)", "NOT currency = 'eur'", "hour BETWEEN 22 AND 5", "huor",
    ]  # fmt: skip
    found = errors("huor = 2 OR upper(card_id) = 'X' OR amount_minor > 'x'")
    assert sorted(error.partition("`")[2].partition("`")[0] for error in found) == [
        "'x'",
        "UPPER(card_id)",
        "huor",
    ]


def test_a_rule_for_other_tenants_than_its_condition_asks_for() -> None:
    assert errors("tenant = 'shop-a'", tenants=("shop-b",))[0].count("never true together") == 1
    assert errors("tenant = 'shop-a' AND amount_minor > 1", tenants=("shop-a", "shop-b")) == []
