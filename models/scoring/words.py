"""A feature's reason in words, by its value: ``7 payments of the card in the last hour``, ``amount 27.16 EUR``."""

from __future__ import annotations

from collections.abc import Callable

from features.currencies import amount_text, money_text
from features.feature import MINOR_UNITS, Feature

#: code, text, contribution in log-odds
ReasonRow = tuple[str, str, float]
#: a known value, its contribution, and the payment's currency, None where it is not known
Words = Callable[[float, float, str | None], ReasonRow]


def words_of(feature: Feature) -> Words:
    """Money of the payment itself is in its currency. What was paid before was in any currency, and nothing stored says in which: its minor
    units are written as if they were of the payment's currency, and the text says so."""
    code, said = feature.reason_code, feature.reason_text.format
    if feature.unit != MINOR_UNITS:
        return lambda value, contribution, _: (code, said(value=value), contribution)
    own = feature.source == "transaction"

    def of_money(value: float, contribution: float, currency: str | None) -> ReasonRow:
        if currency is None or not own:
            text = said(value=value, money=amount_text(value, currency, single=True))
            taken = f", all taken as {currency}" if currency is not None else ""
            return code, text + taken, contribution
        return code, said(value=value, money=money_text(value, currency, single=True)), contribution

    return of_money
