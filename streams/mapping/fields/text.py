"""Identifiers and codes as text, whatever type the file gives them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.definition import FieldRule
from streams.mapping.fields.converted import Converted, bools, findings
from streams.mapping.tokens import card_token

#: whole numbers above are not exact in a double: two identifiers would become one
EXACT = 2.0**53
#: 1.23E+15, as spreadsheets write long numbers
_CUT = r"^\s*\d[.,]\d+E\+\d{2,3}\s*$"
#: codes of a fixed alphabet: blanks around them mean nothing
_CODES = frozenset({"currency", "mcc", "channel", "country", "ip"})


def as_text(column: pa.Array) -> pa.Array:
    """Whole numbers get no decimal point, whatever type the file gives them; a date no midnight; not-a-number is null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary).take(column.indices)
    if pa.types.is_floating(kind):
        return _float_text(column.cast(pa.float64()), column)
    if pa.types.is_decimal(kind) and kind.scale > 0:
        text = column.cast(pa.string())
        return pc.replace_substring_regex(text, r"\.0*$", "")
    if pa.types.is_timestamp(kind):
        text = column.cast(pa.string())
        midnight = pc.all(pc.match_substring_regex(text, r" 00:00:00(\.0*)?Z?$")).as_py()
        return pc.utf8_slice_codeunits(text, 0, 10) if midnight and kind.tz is None else text
    return column.cast(pa.string())


def convert_text(field: str, rule: FieldRule, columns: list[pa.Array], key: bytes | None) -> Converted:
    """The text of an identifier or code: values mapped, tokenised and put into the template. Null if any part is null."""
    texts = raw = [as_text(column) for column in columns]
    inexact = np.zeros(len(columns[0]), dtype=bool)
    for column in columns:
        if pa.types.is_floating(column.type):
            inexact |= bools(pc.greater(pc.abs(column.cast(pa.float64())), EXACT))
    if field in _CODES:
        texts = [_trim(text) for text in texts]
    if field == "mcc" and rule.template is None:
        texts = list(map(_four_digits, texts))
    if rule.map is not None:
        names = pa.array(list(rule.map), pa.string())
        texts = [pa.array(list(rule.map.values()), pa.string()).take(pc.index_in(t, names)) for t in texts]
    if field in ("currency", "country"):
        texts = list(map(pc.utf8_upper, texts))
    if rule.tokenise:
        assert key is not None
        texts = [_tokenise(text, key) for text in texts]
    # on what the file holds: a template may make anything
    cut = np.zeros(len(columns[0]), dtype=bool)
    for given in raw:
        cut |= bools(pc.match_substring_regex(given, _CUT))
    text = join_template(rule.template, texts)
    if inexact.any() or cut.any():
        text = pc.if_else(pa.array(inexact | cut), None, text)
    return Converted(
        text,
        findings(
            ("is a number too large to be exact in the file", inexact),
            ("is a number that a spreadsheet has rounded: its last digits are lost", cut & ~inexact),
        ),
    )


def join_template(template: str | None, texts: list[pa.Array]) -> pa.Array:
    """The texts put into the template's ``{}``; null if one is null."""
    if template is None:
        return texts[0]
    pieces = template.split("{}")
    parts: list[pa.Array | str] = [pieces[0]]
    for text, after in zip(texts, pieces[1:], strict=True):
        parts += [text, after]
    return pc.binary_join_element_wise(*parts, "")


def without(values: pa.Array, unfit: np.ndarray) -> pa.Array:
    """The values, null where unfit."""
    return pc.if_else(pa.array(unfit), None, values) if unfit.any() else values


def _float_text(numbers: pa.Array, written: pa.Array) -> pa.Array:
    finite = pc.is_finite(numbers)
    whole = pc.and_(
        pc.and_(finite, pc.equal(pc.floor(numbers), numbers)), pc.less_equal(pc.abs(numbers), EXACT)
    )
    integers = pc.if_else(whole, numbers, 0.0).cast(pa.int64()).cast(pa.string())
    # the shortest text of the type that the file has: 57.16 stays so where it is single precision
    return pc.if_else(whole, integers, pc.if_else(finite, written.cast(pa.string()), None))


def _trim(text: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _four_digits(text: pa.Array) -> pa.Array:
    """Merchant category codes have four digits, also where a program took them for numbers: 742, 5411.0."""
    whole = pc.replace_substring_regex(text, r"^(\d{1,4})\.0*$", r"\1")
    return pc.if_else(pc.match_substring_regex(whole, r"^\d{1,3}$"), pc.utf8_lpad(whole, 4, "0"), whole)


def _tokenise(text: pa.Array, key: bytes) -> pa.Array:
    encoded = pc.dictionary_encode(text)
    tokens = pa.array([card_token(number, key) for number in encoded.dictionary.to_pylist()], pa.string())
    return tokens.take(encoded.indices)
