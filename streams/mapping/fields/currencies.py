"""The signs that people write for currencies."""

from __future__ import annotations

from features.currencies import DECIMALS

_DOLLARS = (
    "USD AUD CAD NZD SGD HKD TWD MXN ARS CLP COP UYU BRL BBD BMD BND BSD BZD DOP FJD GYD JMD KYD LRD NAD SBD SRD SVC TTD XCD "
    "CVE NIO TOP WST ZWL"
)
#: signs that only some currencies have; a dollar or pound sign alone says little, but not the euro
SIGNS: dict[str, frozenset[str]] = {
    "€": frozenset({"EUR"}),
    "£": frozenset({"GBP", "GIP", "FKP", "SHP", "EGP", "LBP", "SYP", "SDG", "SSP"}),
    "¥": frozenset({"JPY", "CNY"}),
    "₹": frozenset({"INR"}),
    "₩": frozenset({"KRW", "KPW"}),
    "₺": frozenset({"TRY"}),
    "₽": frozenset({"RUB"}),
    "R$": frozenset({"BRL"}),
    "NT$": frozenset({"TWD"}),
    "C$": frozenset({"CAD", "NIO"}),
    "E£": frozenset({"EGP"}),
    "$": frozenset(_DOLLARS.split()),
}


def fits(sign: str, currency: str) -> bool:
    """Whether an amount with this sign or code beside it may be in this currency."""
    if sign == currency or not sign:
        return True
    if sign in DECIMALS:
        return False
    if sign in SIGNS or len(sign) == 1:
        return currency in SIGNS.get(sign, {currency})
    # US$, CA$, A$, CN¥: the letters are those that the currency's code begins with
    return currency.startswith(sign[:-1]) and currency in SIGNS.get(sign[-1], {currency})
