"""Transactions as careless producers write them: right ones of many kinds, most of them damaged; always the same for one number."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.mutations import CLASSICS, mutations

#: texts that may stand where a name or code does
_TEXTS = (
    "NA", "NULL", "null", "", " ", " card ", "é", "e\u0301", "\u00e9 ", "ﬁ", "\u2028", "日本", "🙂", "a\tb", "a\u200bb", "x" * 64, "x" * 65, "%00", "&amp;",
    "..", "../../etc/passwd", "2026/00017", "a b", "'; DROP TABLE", '"', "\\", "4111111111111111", "4111-1111-1111-1111",
    "1595256200000", "9007199254740993", "true", "0", "-1",
)  # fmt: skip
_ADDRESSES = (
    "203.0.113.7", "2001:DB8::1", "::1", "::ffff:10.0.0.1", "999.1.1.1", "10.0.0", "0x7f.1", "fe80::1%eth0", "2001:db8::/32", " 10.0.0.1", "",
)  # fmt: skip
_AMOUNTS = (0, 1, 1299, 2**40 - 1, 2**40, -1, 12.5, "1299", None, True, 10**30)
_CURRENCIES = ("EUR", "JPY", "KWD", "XXX", "eur", "EU", "€", "ABC")
_OFFSETS = ("Z", "+00:00", "+02:00", "-12:00", "+14:00", "", "+25:00", " UTC", "z")
_FIELDS = ("card_id", "merchant_id", "customer_id", "device_id", "mcc", "channel", "country", "tenant")
_ATTRIBUTES: tuple[Any, ...] = (
    {"loyalty_tier": "gold", "basket_items": 7},
    {"loyalty_tier": " gold ", "basket_items": -0.0},
    {"loyalty_tier": 7},
    {"basket_items": "7"},
    {"basket_items": 1e300},
    {"basket_items": True},
    {"other": [1, {"a": None}]},
    {"loyalty_tier": None},
    {"loyalty_tier": ""},
    {},
    None,
    "gold",
    [],
    {str(number): 1 for number in range(40)},
)


def fuzzed(count: int, first: int = 0, *, now: datetime, prefix: str = "fz") -> Iterator[bytes]:
    """``count`` values of `transactions`, from number ``first`` on; ids begin with ``prefix`` where nothing changed them."""
    classics = [value for value in CLASSICS if value]
    for number in range(first, first + count):
        dice = random.Random(number)
        if dice.random() < 0.01:
            yield dice.choice(classics)
            continue
        value = json.dumps(
            _payment(number, dice, now, prefix), ensure_ascii=dice.random() < 0.5, separators=dice.choice(((",", ":"), (", ", ": ")))
        ).encode()  # fmt: skip
        if dice.random() < 0.5:
            (value,) = mutations(value, 1, seed=number)
        yield value


def _payment(number: int, dice: random.Random, now: datetime, prefix: str) -> dict[str, Any]:
    at = now - timedelta(milliseconds=dice.randrange(10 ** dice.randrange(1, 10)))
    payment: dict[str, Any] = {
        "transaction_id": f"{prefix}-{number}", "event_time": at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
        "card_id": f"{prefix}-card-{dice.randrange(500)}", "merchant_id": f"{prefix}-m-{dice.randrange(50)}", "amount_minor": dice.randrange(10**6),
        "currency": "EUR",
    }  # fmt: skip
    if dice.random() < 0.5:
        payment |= {
            "ip": "203.0.113.7",
            "device_id": f"d-{dice.randrange(80)}",
            "channel": "ecom",
            "country": "FR",
        }
    # of most records nothing more is odd, so that many are decided
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        odd = dice.randrange(7)
        if odd == 0:
            payment[dice.choice(_FIELDS)] = dice.choice(_TEXTS)
        elif odd == 1:
            payment["ip"] = dice.choice(_ADDRESSES)
        elif odd == 2:
            payment["amount_minor"] = dice.choice(_AMOUNTS)
        elif odd == 3:
            payment["currency"] = dice.choice(_CURRENCIES)
        elif odd == 4:
            payment["event_time"] = payment["event_time"][:-1] + dice.choice(_OFFSETS)
        elif odd == 5:
            payment["attributes"] = dice.choice(_ATTRIBUTES)
        else:
            payment[dice.choice(("latitude", "longitude"))] = dice.choice((0, -0.0, 89.9, 181, "48.85", None))
    return payment
