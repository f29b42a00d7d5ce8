"""Convert source columns to a field's column. A value that cannot be converted becomes null and its row is marked: the row is
sent as its producer wrote it, and the processor refuses it with a reason, like every bad row."""

from __future__ import annotations

import decimal
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import CHANNELS, EARLIEST_EVENT, LATEST_EVENT, epoch_ms
from streams.mapping.definition import FieldRule
from streams.mapping.tokens import card_token

Mask = npt.NDArray[np.bool_]
TIMESTAMP = pa.timestamp("ms", tz="UTC")
_CHANNELS = pa.array(CHANNELS)
_MAX_LENGTH = {"currency": 3, "country": 2, "mcc": 4, "ip": 45}
_MIN_LENGTH = {"currency": 3, "country": 2}
_ZONED = r"(Z|z|[+-]\d\d:?\d\d)$"


@dataclass(frozen=True)
class Converted:
    """``values``: the field, null where absent or unfit; ``unfit``: rows whose source value does not fit the field."""

    values: pa.Array
    unfit: Mask


def as_text(column: pa.Array) -> pa.Array:
    """Identifiers as text: whole numbers get no decimal point, whatever type the file gives them."""
    if pa.types.is_dictionary(column.type):
        return as_text(column.dictionary).take(column.indices)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
        if pc.all(pc.equal(pc.floor(column), column)).as_py() is not False:
            column = column.cast(pa.int64(), safe=False)
    return column.cast(pa.string())


def convert_text(rule: FieldRule, columns: list[pa.Array], key: bytes | None) -> pa.Array:
    """The text of an identifier or code: values mapped, tokenised and put into the template. Null if any part is null."""
    texts = [as_text(column) for column in columns]
    if rule.map is not None:
        names = pa.array(list(rule.map), pa.string())
        texts = [pa.array(list(rule.map.values()), pa.string()).take(pc.index_in(t, names)) for t in texts]
    if rule.tokenise:
        assert key is not None
        texts = [_tokenise(text, key) for text in texts]
    if rule.template is None:
        return texts[0]
    pieces = rule.template.split("{}")
    parts: list[pa.Array | str] = [pieces[0]]
    for text, after in zip(texts, pieces[1:], strict=True):
        parts += [text, after]
    return pc.binary_join_element_wise(*parts, "")


def check_text(field: str, text: pa.Array) -> Converted:
    """Check lengths and, for channels, the names."""
    length = pc.utf8_length(text)
    fits = pc.and_(
        pc.greater_equal(length, _MIN_LENGTH.get(field, 1)), pc.less_equal(length, _MAX_LENGTH.get(field, 64))
    )
    if field == "channel":
        fits = pc.and_(fits, pc.is_in(text, _CHANNELS))
    unfit = ~_bools(pc.fill_null(fits, True))
    return Converted(_without(text, unfit), unfit)


def convert_time(rule: FieldRule, column: pa.Array, zone: str) -> Converted:
    """Times in UTC milliseconds. A time without a zone is local time of ``zone``; an ambiguous one means the earlier."""
    present = _bools(pc.is_valid(column))
    if rule.epoch is not None:
        number = pc.cast(column, pa.float64(), safe=False)
        times = pc.cast(
            pc.round(pc.multiply(number, 1000.0 if rule.epoch == "s" else 1.0)), pa.int64(), safe=False
        )
        times = times.cast(TIMESTAMP)
    elif pa.types.is_timestamp(column.type):
        times = column if column.type.tz else _localise(column, zone)
    else:
        times = _parse_times(as_text(column), rule.format, zone)
    milliseconds = pc.cast(times, TIMESTAMP, safe=False)
    number = milliseconds.cast(pa.int64())
    sane = pc.and_(
        pc.greater_equal(number, epoch_ms(EARLIEST_EVENT)), pc.less(number, epoch_ms(LATEST_EVENT))
    )
    unfit = present & ~_bools(pc.fill_null(sane, False))
    return Converted(_without(milliseconds, unfit), unfit)


def convert_amount(rule: FieldRule, column: pa.Array) -> Converted:
    """Amounts in integer minor units, rounded half to even on the decimal digits as written."""
    present = _bools(pc.is_valid(column))
    value = _numbers(column).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = value * 10.0**rule.exponent
        minor = np.rint(scaled)
        fits = np.isfinite(minor) & (minor >= 0) & (minor < 2**40)
        between = fits & (np.abs(scaled - minor) > 1e-6 * np.maximum(1.0, np.abs(scaled) * 1e-6))
    for row in np.flatnonzero(between):
        exact = decimal.Decimal(repr(float(value[row]))).scaleb(rule.exponent)
        minor[row] = int(exact.to_integral_value(decimal.ROUND_HALF_EVEN))
    whole = np.where(fits, minor, 0).astype(np.int64)
    return Converted(pa.array(whole, mask=~fits), present & ~fits)


def convert_degrees(column: pa.Array, limit: float) -> Converted:
    """Latitude (limit 90) or longitude (limit 180); NaN means absent."""
    numbers = _numbers(column)
    present = _bools(pc.is_valid(column))
    value = numbers.to_numpy(zero_copy_only=False)
    absent = np.isnan(value)
    with np.errstate(invalid="ignore"):
        unfit = present & ~absent & ~(np.abs(value) <= limit)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        unfit |= present & absent
    return Converted(pa.array(np.round(value, 6), mask=absent | unfit), unfit)


def _tokenise(text: pa.Array, key: bytes) -> pa.Array:
    encoded = pc.dictionary_encode(text)
    tokens = pa.array([card_token(number, key) for number in encoded.dictionary.to_pylist()], pa.string())
    return tokens.take(encoded.indices)


def _parse_times(text: pa.Array, form: str | None, zone: str) -> pa.Array:
    zoned = _bools(pc.fill_null(pc.match_substring_regex(text, _ZONED), False))
    series = text.to_pandas()
    style = form or "ISO8601"
    out = np.full(len(series), np.datetime64("NaT"), dtype="datetime64[ms]")
    local = pd.to_datetime(series[~zoned], format=style, errors="coerce")
    if len(local):
        moments = _localise(pa.array(local, pa.timestamp("ms"), from_pandas=True, safe=False), zone)
        out[~zoned] = moments.cast(pa.timestamp("ms")).to_numpy(zero_copy_only=False)
    if zoned.any():
        absolute = pd.to_datetime(series[zoned], format=style, errors="coerce", utc=True)
        out[zoned] = absolute.dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return pa.array(out).cast(TIMESTAMP)


def _localise(column: pa.Array, zone: str) -> pa.Array:
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="latest").cast(
        pa.timestamp(column.type.unit, tz="UTC")
    )


def _numbers(column: pa.Array) -> pa.Array:
    """The column as float64; null or NaN where the source is absent or not a number."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pa.array(pd.to_numeric(column.to_pandas(), errors="coerce"), pa.float64(), from_pandas=False)
    return column.cast(pa.float64(), safe=False)


def _bools(mask: pa.Array) -> Mask:
    out: Mask = np.array(mask.to_numpy(zero_copy_only=False), dtype=bool)
    return out


def _without(values: pa.Array, unfit: Mask) -> pa.Array:
    return pc.if_else(pa.array(~unfit), values, None) if unfit.any() else values
