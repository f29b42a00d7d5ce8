"""Amounts in integer minor units. The currency decides the decimals where the mapping does not; nothing is rounded unasked."""

from __future__ import annotations

import decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.currencies import DECIMALS
from streams.mapping.definition import FieldRule, FileRule
from streams.mapping.fields.converted import Converted, Mask, findings
from streams.mapping.fields.currencies import fits
from streams.mapping.fields.numbers import notation, read_numbers

_CODES = pa.array(list(DECIMALS), pa.string())
_EXPONENTS = np.array([*DECIMALS.values(), 0])
_ROUNDING = {
    "half_even": decimal.ROUND_HALF_EVEN,
    "half_up": decimal.ROUND_HALF_UP,
    "down": decimal.ROUND_DOWN,
}
#: what a transaction can hold
_LIMIT = 2.0**40
#: a smaller fraction of a minor unit is the noise of binary floats, not money
_NOISE = 1e-6


def convert_amount(rule: FieldRule, column: pa.Array, currency: pa.Array, file: FileRule) -> Converted:
    """Amounts as int64 minor units. A negative amount is a refund, never a payment of its absolute value.

    Args:
        currency: the currency of each row, text; it decides where the rule has no exponent.
    """
    style = notation(rule, file)
    numbers = read_numbers(column, style)
    exponent, unknown = _exponents(rule, currency)
    value = -numbers.values if rule.payments == "negative" else numbers.values
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = value * 10.0**exponent
        minor = np.rint(scaled)
        negative = scaled < 0
        large = minor >= _LIMIT
        sane = np.isfinite(scaled) & ~negative & ~large & ~unknown
        fraction = sane & (np.abs(scaled - minor) > np.maximum(_NOISE, 4 * np.spacing(np.abs(scaled))))
    if rule.round is not None:
        for row in np.flatnonzero(fraction):
            exact = decimal.Decimal(repr(float(value[row]))).scaleb(int(exponent[row]))
            minor[row] = int(exact.to_integral_value(_ROUNDING[rule.round]))
        fraction[:] = False
    foreign = sane & _foreign(numbers.unit, currency)
    fit = sane & ~fraction & ~foreign
    refund = "is a refund (negative)" if rule.payments == "positive" else "is a refund (positive)"
    problems = findings(
        (f"is no number with {style}", numbers.unread | np.isinf(value)),
        ("has a currency that is not in ISO 4217, so say its exponent", unknown & np.isfinite(value)),
        (f"{refund}, which is no payment: refunds = \"skip\" leaves such rows out", negative & (rule.refunds == "refuse")),
        ("is larger than an amount can be", large),
        ('has a fraction of a minor unit: round = "half_even" rounds it', fraction),
        ("is written with the sign of another currency", foreign),
    )  # fmt: skip
    whole = np.where(fit, minor, 0).astype(np.int64)
    skip = negative if rule.refunds == "skip" else None
    return Converted(pa.array(whole, mask=~fit), problems, skip=skip)


def _exponents(rule: FieldRule, currency: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """Decimals of each row's minor unit, and the rows for which nobody says them."""
    if rule.exponent is not None:
        return np.full(len(currency), rule.exponent), np.zeros(len(currency), dtype=bool)
    places = pc.index_in(currency, _CODES)
    known = pc.is_valid(places).to_numpy(zero_copy_only=False)
    return _EXPONENTS[places.fill_null(-1).to_numpy()], ~known & ~np.asarray(currency.is_null())


def _foreign(unit: pa.Array | None, currency: pa.Array) -> Mask:
    out = np.zeros(len(currency), dtype=bool)
    if unit is None or pc.all(pc.equal(unit, "")).as_py() is not False:
        return out
    pairs = pc.dictionary_encode(pc.binary_join_element_wise(unit, currency, " "))
    wrong = [not fits(*pair.split(" ", 1)) for pair in pairs.dictionary.to_pylist()]
    indices = pairs.indices.fill_null(-1).to_numpy()
    found: Mask = np.append(np.array(wrong, dtype=bool), False)[indices]
    return found
