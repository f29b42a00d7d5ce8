"""Labels of rows. A value that is neither fraud nor honest gives no label and is counted, whatever else it may mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.definition import LabelRule, Scalar, SkipRule
from streams.mapping.fields.converted import Mask
from streams.mapping.fields.moments import TIMESTAMP
from streams.mapping.fields.text import as_text

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?")
#: what honest is where the mapping does not say it: the plain opposite
_OPPOSITES = {"1": ("0",), "0": ("1",), "y": ("n",), "yes": ("no",), "t": ("f",), "fraud": ("legit", "legitimate", "genuine", "honest")}  # fmt: skip
FRAUD, HONEST, UNLABELLED = 0, 1, 2
#: as a fraud value: any that is not honest; as an honest one: the empty cell
ANY, EMPTY = "*", ""


def canonical(value: Scalar) -> str:
    """One spelling for equal values: 1, 1.0, "01" and true; Y and y."""
    text = str(value).strip().casefold()
    if text in ("true", "false"):
        return "1" if text == "true" else "0"
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        return format(number.normalize() + 0, "f") if number else "0"
    return text


def fraud_values(rule: LabelRule) -> frozenset[str]:
    """The values that mean fraud, in their canonical spelling."""
    return _canonicals(rule.fraud)


def honest_values(rule: LabelRule) -> frozenset[str]:
    """The values that mean honest: the stated ones, else the plain opposite of the fraud value."""
    if rule.honest is not None:
        return _canonicals(rule.honest)
    fraud = fraud_values(rule)
    return frozenset(other for value in fraud for other in _OPPOSITES.get(value, ())) - fraud


def kind_of(value: str | None, fraud: frozenset[str], honest: frozenset[str]) -> int:
    """FRAUD, HONEST or UNLABELLED of a value as it is written; None: the empty cell."""
    said = EMPTY if value is None else canonical(value)
    if said in fraud:
        return FRAUD
    if said in honest:
        return HONEST
    return FRAUD if ANY in fraud and said != EMPTY else UNLABELLED


def convert_labels(
    rule: LabelRule | None, column: pa.Array | None, event_time: pa.Array, seen: Counter[str]
) -> dict[str, pa.Array]:
    """The columns label, label_time and label_source; ``seen`` counts the values as they are written."""
    count = len(event_time)
    if rule is None or column is None:
        nothing = pa.nulls(count, pa.string())
        return {"label": nothing, "label_time": pa.nulls(count, TIMESTAMP), "label_source": nothing}
    encoded = pc.dictionary_encode(as_text(column))
    values = encoded.dictionary.to_pylist()
    fraud, honest = fraud_values(rule), honest_values(rule)
    kinds = [kind_of(value, fraud, honest) for value in (*values, None)]
    indices = encoded.indices.fill_null(-1).to_numpy()
    for place, number in zip(*np.unique(indices[indices >= 0], return_counts=True), strict=True):
        seen[values[place]] += int(number)
    kind = pa.array(np.array(kinds, np.int64)[indices])
    names = pa.array(["fraud", "legit" if rule.legit else None, None], pa.string())
    label = names.take(kind)
    later = pc.add(event_time.cast(pa.int64()), round(rule.delay_days * 86_400_000)).cast(TIMESTAMP)
    said = pc.is_valid(label)
    return {
        "label": label,
        "label_time": pc.if_else(said, later, None),
        "label_source": pc.if_else(said, rule.source, pa.scalar(None, pa.string())),
    }


def matches(rule: SkipRule, column: pa.Array) -> Mask:
    """Rows whose value is one of those that the mapping leaves out."""
    encoded = pc.dictionary_encode(as_text(column))
    wanted = _canonicals(rule.values)
    hits = np.array([canonical(value) in wanted for value in encoded.dictionary.to_pylist()] + [False])
    found: Mask = hits[encoded.indices.fill_null(-1).to_numpy()]
    return found


def _canonicals(values: Scalar | Iterable[Scalar]) -> frozenset[str]:
    if isinstance(values, str | int | float | bool):
        values = [values]
    return frozenset(canonical(value) for value in values)
