"""Numbers as people write them: currency signs, separators of thousands, decimal comma, parentheses, trailing minus."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.definition import FieldRule, FileRule
from streams.mapping.fields.converted import Converted, Mask, bools, findings

_THOUSANDS = {".": r"\.", ",": ",", " ": r"[ \x{00A0}\x{2009}\x{202F}]", "'": r"['\x{2019}]"}
_UNIT = r"[A-Z]{3}|[A-Z]{0,2}\p{Sc}"
_MINUS = r"[-\x{2212}]"


@dataclass(frozen=True)
class Numbers:
    """``values``: float64, NaN where absent or unreadable; ``unread``: text that is no number in this notation;
    ``unit``: the currency sign or code beside each number, empty without one, None where the column is not text."""

    values: npt.NDArray[np.float64]
    unread: Mask
    unit: pa.Array | None


@dataclass(frozen=True)
class Notation:
    """How numbers are written in a column."""

    decimal: str
    thousands: str

    def __str__(self) -> str:
        name = {".": "point", ",": "comma"}[self.decimal]
        return f"decimal {name}" + (f" and {self.thousands!r} between thousands" if self.thousands else "")


def notation(rule: FieldRule, file: FileRule) -> Notation:
    """The notation of one column: the field's own, else the file's."""
    return Notation(
        rule.decimal or file.decimal, file.thousands if rule.thousands is None else rule.thousands
    )


def read_numbers(column: pa.Array, style: Notation) -> Numbers:
    """The numbers of a column of any type. Negative: a minus before or after, parentheses, or CR (credit) behind."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # 57.16 in single precision means 57.16, not 57.15999984741211
        column = pc.if_else(pc.is_finite(column), column, None).cast(pa.string()).cast(pa.float64())
    if pa.types.is_string(column.type):
        return _read_text(column, style)
    if (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return Numbers(values, np.zeros(len(values), dtype=bool), None)
    return Numbers(np.full(len(column), np.nan), bools(pc.is_valid(column)), None)


def convert_degrees(rule: FieldRule, column: pa.Array, file: FileRule) -> Converted:
    """Latitude or longitude, to a millionth of a degree; NaN means absent."""
    style = notation(rule, file)
    numbers = read_numbers(column, style)
    absent = np.isnan(numbers.values)
    values = pa.array(np.round(numbers.values, 6), mask=absent)
    return Converted(values, findings((f"is no number with {style}", numbers.unread)))


def _read_text(column: pa.Array, style: Notation) -> Numbers:
    # a float is written once a distinct text: files repeat amounts
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(column))
    texts = encoded.dictionary
    found = pc.extract_regex(texts, _pattern(style))
    part = {name: pc.fill_null(pc.struct_field(found, name), "") for name in _GROUPS}
    digits = part["digits"]
    if style.thousands:
        digits = pc.replace_substring_regex(digits, _THOUSANDS[style.thousands], "")
    digits = pc.replace_substring(digits, style.decimal, ".") if style.decimal != "." else digits
    values = pd.to_numeric(
        pc.binary_join_element_wise(digits, part["power"], "").to_pandas(), errors="coerce"
    )
    values = values.to_numpy(np.float64, copy=True)
    signs = sum(bools(pc.not_equal(part[name], "")).astype(int) for name in ("sign", "inner", "trail"))
    closed = bools(pc.not_equal(part["open"], ""))
    wrong = (signs > 1) | (closed != bools(pc.not_equal(part["close"], "")))
    negative = closed | np.zeros(len(values), dtype=bool)
    for name in ("sign", "inner", "trail"):
        negative |= bools(pc.match_substring_regex(part[name], f"^(?:{_MINUS}|CR)$"))
    values[negative] *= -1.0
    values[wrong] = np.nan
    unit = pc.if_else(pc.equal(part["before"], ""), part["after"], part["before"])
    indices = encoded.indices.fill_null(-1).to_numpy()
    spread = np.append(values, np.nan)[indices]
    return Numbers(spread, np.isnan(spread) & (indices >= 0), unit.take(encoded.indices).fill_null(""))


_GROUPS = ("open", "sign", "before", "inner", "digits", "power", "after", "trail", "close")


def _pattern(style: Notation) -> str:
    decimal = re.escape(style.decimal)
    forms = rf"\d{{1,30}}(?:{decimal}\d{{0,30}})?|{decimal}\d{{1,30}}"
    if style.thousands:
        between = _THOUSANDS[style.thousands]
        # groups of two before the last one are lakhs
        forms = rf"\d{{1,3}}(?:{between}\d{{2,3}}){{0,9}}{between}\d{{3}}(?:{decimal}\d{{0,30}})?|" + forms
    return (
        rf"^(?P<open>\()?\s*(?P<sign>[+]|{_MINUS})?\s*(?P<before>{_UNIT})?\s*(?P<inner>[+]|{_MINUS})?\s*"
        rf"(?P<digits>{forms})(?P<power>[eE][-+]?\d{{1,2}})?"
        rf"\s*(?P<after>{_UNIT})?\s*(?P<trail>[+]|{_MINUS}|CR|DR)?\s*(?P<close>\))?$"
    )
