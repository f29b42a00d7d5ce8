"""ISO 4217: the decimals of each currency's minor unit, and amounts of money as people read them.

Source: ISO 4217 list one (active codes) as of 2025, with BGN, ANG, CUC, HRK, SLL and ZWL, which files of the last years hold.
"""

from __future__ import annotations

_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY "
    "COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS "
    "INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN "
    "NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN "
    "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL"
)
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
#: decimals of the minor unit by code; XXX (no currency) and XTS (testing) count as two
DECIMALS: dict[str, int] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_NONE.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_FOUR.split(), 4),
    **dict.fromkeys(("XXX", "XTS"), 2),
}
#: metals and units of account, which have no minor unit
_UNITS = "XAD XAG XAU XBA XBB XBC XBD XDR XFO XFU XPD XPT XSU XUA"
#: ISO 4217 list three: withdrawn since 2000, the earliest year of a payment; nobody here has asked for their decimals
_WITHDRAWN = (
    "ADP AFA AOR ATS AYM AZM BEF BGL BYB BYR CHC CSD CYP DEM ECS EEK ESP FIM FRF GHC GHP GRD IEP ITL LTL LUF LVL MGF MRO MTL "
    "MZM NLG PTE ROL RUR SDD SIT SKK SRG STD TJR TMM TPE TRL USS VEB VEF YUM ZMK ZWC ZWD ZWN ZWR"
)
#: all codes, with those that have no decimals here
CURRENCIES = frozenset(DECIMALS) | frozenset(_UNITS.split()) | frozenset(_WITHDRAWN.split())


#: whole numbers below are exact in single precision
_SINGLE = 2**24


def amount_text(minor: float, currency: str | None, *, single: bool = False) -> str:
    """An amount of minor units in units of its currency, without the currency's name: ``2,716.29``.

    Minor units of an unknown currency stay as they are: nobody knows its decimals.

    Args:
        single: the number was kept in single precision: large ones are shown without the decimals, which it does not hold.
    """
    decimals = DECIMALS.get(currency or "")
    if decimals is None:
        return f"{minor:,.0f} minor units"
    shown = 0 if single and abs(minor) >= _SINGLE else decimals
    return f"{minor / 10**decimals:,.{shown}f}"


def money_text(minor: float, currency: str, *, single: bool = False) -> str:
    """The same with the currency's name: ``2,716.29 EUR``, ``271,629 minor units of BTC``."""
    name = currency if currency in DECIMALS else f"of {currency}"
    return f"{amount_text(minor, currency, single=single)} {name}"
