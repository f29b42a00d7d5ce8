"""No condition that some payment fits is ever called impossible, and none that some payment does not fit is called always true."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import INDEX, WIDTH
from models.policy.field_values import ENUMERATED
from models.policy.rules.checking import rule_errors
from models.policy.rules.columns import Batch, TableColumns
from models.policy.rules.compiler import Meaning
from models.policy.rules.rule import Rule

ROWS = 600
HOURS, COUNTS, SHARES, AMOUNTS = (
    st.integers(-1, 25), st.integers(-1, 8), st.sampled_from([-0.5, 0, 0.25, 0.5, 1, 2]), st.sampled_from([-1, 0, 5, 6, 7.5, 100]),
)  # fmt: skip
NUMBERS = {
    "hour": HOURS, "card_count_1h": COUNTS, "card_count_24h": COUNTS, "score": SHARES, "amount_minor": AMOUNTS, "card_hour_share": SHARES,
}  # fmt: skip
TEXTS = {
    "country": ("FR", "DE", "NG", "fr"),
    "channel": ("pos", "ecom", "POS"),
    "device_id": ("d-1", "d-22", "x-1", "x-1 "),
}
PATTERNS = ("d-%", "%-1", "%d-%", "d-1", "x-%", "%22", "pos%", "%FR%")


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    kind = draw(
        st.sampled_from(["compare", "scaled", "between", "in", "two", "null", "text", "texts", "like"])
    )
    name = draw(st.sampled_from(list(NUMBERS)))
    number, other = draw(NUMBERS[name]), draw(NUMBERS[name])
    operator = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
    text = draw(st.sampled_from(list(TEXTS)))
    values = draw(st.lists(st.sampled_from(TEXTS[text]), min_size=1, max_size=3))
    no = draw(st.sampled_from(["", "NOT "]))
    return {
        "compare": f"{name} {operator} {number}",
        "scaled": f"{draw(st.sampled_from(['2 *', '10 -', '-1 * 4 *', '3 +', '0.5 *']))} {name} {operator} {number}",
        "between": f"{name} {no}BETWEEN {number} AND {other}",
        "in": f"{name} {no}IN ({number}, {other})",
        "two": f"{name} {operator} {draw(st.sampled_from(list(NUMBERS)))}",
        "null": f"{draw(st.sampled_from([name, text]))} IS {no}NULL",
        "text": f"{text} {draw(st.sampled_from(['=', '<>']))} '{values[0]}'",
        "texts": f"{text} {no}IN ({', '.join(map(repr, values))})",
        "like": f"{text} {no}LIKE '{draw(st.sampled_from(PATTERNS))}'",
    }[kind]


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda three: f"({' '.join(three)})"),
        inner.map(lambda one: f"NOT ({one})"),
    ),
    max_leaves=6,
)


def rows() -> Batch:
    """Possible payments: every field within its range, half of the optional ones missing."""
    random = np.random.default_rng(5)
    matrix = np.full((ROWS, WIDTH), np.nan, np.float32)
    matrix[:, INDEX["hour"]] = np.arange(ROWS) % 24
    short = random.integers(0, 8, ROWS)
    matrix[:, INDEX["card_count_1h"]] = np.where(random.random(ROWS) < 0.2, np.nan, short)
    matrix[:, INDEX["card_count_24h"]] = np.where(
        random.random(ROWS) < 0.2, np.nan, short + random.integers(0, 3, ROWS)
    )
    matrix[:, INDEX["card_hour_share"]] = random.choice([0, 0.25, 0.5, 0.7, 1, np.nan], ROWS)
    scores = random.choice([0, 0.25, 0.5, 0.7, 1, np.nan], ROWS).astype(np.float32)
    devices = ["d-1", "d-22", "x-1", "d-", "xd-1", "22", None]
    columns = {
        "amount_minor": random.choice([0, 3, 4, 5, 6, 7, 8, 100, 2**39], ROWS).tolist(),
        "country": random.choice(np.array([*sorted(ENUMERATED["country"])[:8], "FR", "DE", "NG", None], dtype=object), ROWS).tolist(),
        "channel": random.choice(np.array([*sorted(ENUMERATED["channel"]), None], dtype=object), ROWS).tolist(),
        "device_id": random.choice(np.array(devices, dtype=object), ROWS).tolist(),
    }  # fmt: skip
    return Batch(scores, matrix, TableColumns(columns))


@settings(max_examples=400, deadline=None)
@given(CONDITIONS)
def test_what_is_refused_as_a_whole_fits_no_payment_or_all(when: str) -> None:
    found = " ".join(rule_errors(Rule("r", when, "review", "ann")))
    if not found:
        return
    with np.errstate(all="ignore"):
        true, false = Meaning().compile("r", when)(rows()), Meaning().compile("r", f"NOT ({when})")(rows())
    # each error names a part; a rule of that part alone is refused for the same cause
    whole = f"`{when}` is "
    if f"{whole}never true" in found or "fits all of its parts together" in found:
        assert not true.any(), when
    if f"{whole}always true" in found:
        assert not false.any(), when


@settings(max_examples=400, deadline=None)
@given(comparisons(), comparisons())
def test_what_excludes_what(one: str, other: str) -> None:
    if any(rule_errors(Rule("r", part, "review", "ann")) for part in (one, other)):
        return
    both, either = f"{one} AND {other}", f"{one} OR {other}"
    with np.errstate(all="ignore"):
        if rule_errors(Rule("r", both, "review", "ann")):
            assert not Meaning().compile("r", both)(rows()).any(), both
        if rule_errors(Rule("r", either, "review", "ann")):
            assert not Meaning().compile("r", f"NOT ({either})")(rows()).any(), either
