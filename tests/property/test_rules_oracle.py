"""Random conditions against an obvious reading of SQL, row by row, with values missing; and any split of a batch."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import INDEX, WIDTH
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.policy.rules.columns import Batch, TableColumns
from models.policy.rules.compiler import Meaning
from models.policy.thresholds import ExpectedLoss, Threshold

FEATURES = ("card_count_1h", "card_sum_1h", "card_speed_kmh")
NUMBERS = (*FEATURES, "score", "amount_minor", "latitude")
TEXTS = {"country": ("FR", "DE", "NG"), "channel": ("pos", "ecom"), "device_id": ("d-1", "d-22", "x-1")}
COMPARE = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}  # fmt: skip
FAR = datetime(2100, 1, 1, tzinfo=UTC)
#: halves and quarters are the same in single and double precision
CONSTANTS = st.integers(-8, 40).map(lambda n: n / 4)


def numbers() -> st.SearchStrategy[tuple]:
    leaf = st.sampled_from(NUMBERS).map(lambda name: ("field", name)) | CONSTANTS.map(
        lambda n: ("constant", n)
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from("+-*/"), inner, inner),
            st.tuples(st.just("abs"), inner),
            st.tuples(st.just("negative"), inner),
            st.tuples(st.just("coalesce"), inner, CONSTANTS.map(lambda n: ("constant", n))),
        ),
        max_leaves=4,
    ).filter(lambda node: not divides_by_constant_zero(node))


def divides_by_constant_zero(node: Any) -> bool:
    """Refused when the rule is read (tests/unit/models/test_rules_language.py), so no value to compare."""
    if node[0] in ("field", "constant"):
        return False
    if node[0] == "/" and not has_field(node[2]) and number(node[2], {}) in (0.0, None):
        return True
    return any(divides_by_constant_zero(inner) for inner in node[1:])


def has_field(node: Any) -> bool:
    return node[0] == "field" or (node[0] != "constant" and any(has_field(inner) for inner in node[1:]))


@st.composite
def atoms(draw: st.DrawFn) -> tuple:
    name = draw(st.sampled_from(NUMBERS))
    kind = draw(st.sampled_from(["compare", "plain", "between", "in", "null", "text", "texts", "like"]))
    field = ("field", name)
    text = draw(st.sampled_from(list(TEXTS)))
    if kind == "compare":
        # one field at least, or it is the same for every row and refused
        return (
            "compare",
            draw(st.sampled_from(list(COMPARE))),
            ("+", draw(numbers()), field),
            draw(numbers()),
        )
    if kind == "plain":
        sides = [field, ("constant", draw(CONSTANTS))]
        return (
            "compare",
            draw(st.sampled_from(list(COMPARE))),
            *(sides if draw(st.booleans()) else sides[::-1]),
        )
    if kind == "between":
        return ("between", field, draw(CONSTANTS), draw(CONSTANTS), draw(st.booleans()))
    if kind == "in":
        return ("in", field, draw(st.lists(CONSTANTS, min_size=1, max_size=3)), draw(st.booleans()))
    if kind == "null":
        return ("null", draw(st.sampled_from([field, ("text", text)])), draw(st.booleans()))
    if kind == "text":
        return ("in", ("text", text), [draw(st.sampled_from(TEXTS[text]))], draw(st.booleans()))
    if kind == "texts":
        return ("in", ("text", text), draw(st.lists(st.sampled_from(TEXTS[text]), min_size=1)), draw(st.booleans()))  # fmt: skip
    return ("like", draw(st.sampled_from(["d-%", "%-1", "%d-%", "d-1"])), draw(st.booleans()))


CONDITIONS = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), inner, inner), st.tuples(st.just("not"), inner)
    ),
    max_leaves=6,
)


def sql(node: Any) -> str:
    match node:
        case ("field" | "text", name):
            return name
        case ("constant", number):
            return f"({number!r})"
        case ("abs" | "negative" as kind, inner):
            return f"abs({sql(inner)})" if kind == "abs" else f"(-({sql(inner)}))"
        case ("coalesce", inner, default):
            return f"coalesce({sql(inner)}, {sql(default)})"
        case ("compare", op, left, right):
            return f"{sql(left)} {op} {sql(right)}"
        case ("between", inner, low, high, negated):
            return f"{sql(inner)} {'NOT ' if negated else ''}BETWEEN {low!r} AND {high!r}"
        case ("in", inner, values, negated):
            return f"{sql(inner)} {'NOT ' if negated else ''}IN ({', '.join(map(repr, values))})"
        case ("null", inner, negated):
            return f"{sql(inner)} IS {'NOT ' if negated else ''}NULL"
        case ("like", pattern, negated):
            return f"device_id {'NOT ' if negated else ''}LIKE '{pattern}'"
        case ("not", inner):
            return f"NOT ({sql(inner)})"
        case ("and" | "or" as op, left, right):
            return f"(({sql(left)}) {op} ({sql(right)}))"
        case (op, left, right):
            return f"({sql(left)} {op} {sql(right)})"
    raise AssertionError(node)


def number(node: Any, row: dict[str, Any]) -> float | None:
    match node:
        case ("field", name):
            return row[name]
        case ("constant", value):
            return value
        case ("coalesce", inner, default):
            found = number(inner, row)
            return number(default, row) if found is None else found
        case ("abs" | "negative" as kind, inner):
            found = number(inner, row)
            return None if found is None else abs(found) if kind == "abs" else -found
        case (op, left, right):
            a, b = number(left, row), number(right, row)
            if a is None or b is None or (op == "/" and b == 0):
                return None
            return {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[op](a, b)
    raise AssertionError(node)


def true(node: Any, row: dict[str, Any]) -> bool | None:
    """True, False, or None where SQL says that it is not known."""
    match node:
        case ("not", inner):
            found = true(inner, row)
            return None if found is None else not found
        case ("and" | "or" as op, left, right):
            both = {true(left, row), true(right, row)}
            ends = op == "or"
            return ends if ends in both else None if None in both else not ends
        case ("compare", op, left, right):
            a, b = number(left, row), number(right, row)
            return None if a is None or b is None else COMPARE[op](a, b)
        case ("null", inner, negated):
            return (row[inner[1]] is None) != negated
        case ("like", pattern, negated):
            value, core = row["device_id"], pattern.strip("%")
            if value is None:
                return None
            fits = {"d-%": value.startswith(core), "%-1": value.endswith(core), "d-1": value == core}
            return fits.get(pattern, core in value) != negated
        case ("between", inner, low, high, negated):
            value = row[inner[1]]
            return None if value is None else (low <= value <= high) != negated
        case ("in", inner, values, negated):
            value = row[inner[1]]
            return None if value is None else (value in values) != negated
    raise AssertionError(node)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    known = CONSTANTS | st.none()
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                dict.fromkeys((*FEATURES, "latitude"), known)
                | {"score": st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, None]), "amount_minor": st.integers(0, 12)}
                | {name: st.sampled_from([*values, None]) for name, values in TEXTS.items()}
            ),
            min_size=1, max_size=12,
        )
    )  # fmt: skip
    return rows


def parts(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, TableColumns]:
    matrix = np.full((len(rows), WIDTH), np.nan, np.float32)
    for name in FEATURES:
        matrix[:, INDEX[name]] = [np.nan if row[name] is None else row[name] for row in rows]
    scores = np.array([np.nan if row["score"] is None else row["score"] for row in rows], np.float32)
    names = ("latitude", "amount_minor", *TEXTS)
    fixed = {"currency": ["EUR"] * len(rows), "tenant": ["default"] * len(rows)}
    return scores, matrix, TableColumns({name: [row[name] for row in rows] for name in names} | fixed)


@settings(max_examples=150, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=4), tables())
def test_conditions_mean_what_sql_says(conditions: list[tuple], rows: list[dict[str, Any]]) -> None:
    # all of one policy and batch, so that what they share is shared
    meaning = Meaning()
    matches = [meaning.compile("r", sql(condition)) for condition in conditions]
    batch = Batch(*parts(rows))
    for condition, match in zip(conditions, matches, strict=True):
        with np.errstate(all="ignore"):
            found = match(batch)
        assert found.dtype == np.bool_ and found.shape == (len(rows),)
        wanted = [true(condition, row) is True for row in rows]
        assert found.tolist() == wanted, sql(condition)


@settings(max_examples=60, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=3), tables(), st.integers(0, 12))
def test_any_split_of_a_batch_gives_the_same_decisions(
    conditions: list[tuple], rows: list[dict[str, Any]], cut: int
) -> None:
    actions = ("review", "decline", "observe")
    policy = Policy(
        version="1", review=0.5, decline=0.75,
        rules=tuple(Rule(f"r{n}", sql(c), actions[n], "ann") for n, c in enumerate(conditions)),  # type: ignore[arg-type]
        thresholds=(Threshold(channel="pos", review=0.25, decline=0.5),),
        expected_loss=ExpectedLoss(currency="EUR", review_cost_minor=1, lost_customer_minor=2),
        lists=tuple(
            PolicyList(name=kind, kind=kind, field="device_id", owner="ann", entries=(Entry(value, expires=FAR),))
            for kind, value in (("block", "d-1"), ("allow", "d-22"), ("watch", "x-1"))
        ),
    )  # fmt: skip

    def decided(chosen: list[dict[str, Any]]) -> list[tuple[int, list[str]]]:
        codes, names = policy.decide(*parts(chosen), 0.0, _never)
        return list(zip(codes.tolist(), names, strict=True))

    assert decided(rows[:cut]) + decided(rows[cut:]) == decided(rows)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20), st.floats(0, 1e6), st.floats(0, 1e6),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**9),
)  # fmt: skip
def test_expected_loss_treats_no_higher_score_more_kindly(
    scores: list[float], review: float, lost: float, share: float, misses: float, margin: float, amount: int
) -> None:
    policy = Policy(
        version="1", review=0.5, decline=0.75,
        expected_loss=ExpectedLoss(
            currency="EUR", review_cost_minor=review, lost_customer_minor=lost, loss_share=share, review_misses=misses,
            lost_margin=margin,
        ),
    )  # fmt: skip
    ordered = np.sort(np.array(scores, np.float32))
    fields = TableColumns({"amount_minor": [amount] * len(ordered), "currency": ["EUR"] * len(ordered)})
    codes, _ = policy.decide(ordered, None, fields, 0.0, _never)
    assert (np.diff(codes) >= 0).all()


def _never(name: str, error: Exception) -> None:
    raise AssertionError(name) from error
