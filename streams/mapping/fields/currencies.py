"""ISO 4217: the decimals of each currency's minor unit, and the signs that people write for it.

Source: ISO 4217 list one (active codes) as of 2025, with HRK, BGN, ANG, SLL and ZWL, which files of the last years hold.
"""

from __future__ import annotations

_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY "
    "COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS "
    "INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN "
    "NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN "
    "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL"
)
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_DOLLARS = (
    "USD AUD CAD NZD SGD HKD TWD MXN ARS CLP COP UYU BRL BBD BMD BND BSD BZD DOP FJD GYD JMD KYD LRD NAD SBD SRD SVC TTD XCD "
    "CVE NIO TOP WST ZWL"
)
#: decimals of the minor unit by code; XXX (no currency) and XTS (testing) count as two
DECIMALS: dict[str, int] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_NONE.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_FOUR.split(), 4),
    **dict.fromkeys(("XXX", "XTS"), 2),
}
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
    "$": frozenset(_DOLLARS.split()),
}


def fits(sign: str, currency: str) -> bool:
    """Whether an amount with this sign or code beside it may be in this currency."""
    if sign == currency or not sign:
        return True
    if sign in DECIMALS:
        return False
    return currency in SIGNS.get(sign, SIGNS.get(sign[-1], frozenset({currency})))
