"""How a model takes attributes of one's own: what a row is trained with never knows its own label, or one that had not come."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.attributes import Attribute, Attributes
from models.bundle.attribute_columns import AttributeColumn, AttributeColumns, AttributeWords, SentAttributes
from models.policy.rules.columns import TableColumns
from models.training.attribute_encoding import MAX_TEXTS, PRIOR_ROWS, block_to_fit, learn_columns

DECLARED = Attributes(
    {
        "tier": Attribute("text", meaning="tier"),
        "items": Attribute("number", unit="articles"),
        "unsent": Attribute("text"),
        # of fairness: no input of a model
        "age_band": Attribute("text", use="fairness"),
    }
)


def columns_of(texts: list[Any], numbers: list[Any] | None = None) -> TableColumns:
    return TableColumns(
        {
            "attributes.tier": texts, "attributes.items": numbers or [None] * len(texts),
            "attributes.age_band": ["old"] * len(texts),
        }
    )  # fmt: skip


def odds(frauds: float, rows: float, rate: float) -> float:
    """Ten obvious lines beside the fast ones."""
    return math.log((frauds + PRIOR_ROWS * rate) / (rows - frauds + PRIOR_ROWS * (1 - rate)))


def test_texts_get_their_log_odds_and_numbers_stay() -> None:
    texts, fraud = ["gold"] * 50 + ["basic"] * 50 + [None], np.array([True] * 30 + [False] * 71)
    learnt = learn_columns(columns_of(texts, [1.5] + [None] * 100), fraud, DECLARED)
    assert [column.name for column in learnt.columns] == ["tier", "items"]
    rate = 30.5 / 102
    tier = learnt.columns[0]
    assert tier.encoding["gold"] == pytest.approx(odds(30, 50, rate)) and tier.encoding[
        "basic"
    ] == pytest.approx(odds(0, 50, rate))
    block = learnt.block(
        4, SentAttributes([{"tier": "gold", "items": 7}, {"tier": "new"}, None, {"tier": 3, "items": "many"}])
    )
    assert block.dtype == np.float32
    np.testing.assert_allclose(block[0], [tier.encoding["gold"], 7])
    assert (
        block[1, 0] == pytest.approx(tier.other) and np.isnan(block[[1, 2, 2, 3, 3], [1, 0, 1, 0, 1]]).all()
    )


def test_every_text_has_a_value_of_its_own_and_words() -> None:
    # all alike in what is known of them
    texts = [f"t{n % (MAX_TEXTS + 50)}" for n in range(4 * (MAX_TEXTS + 50))]
    (column,) = learn_columns(columns_of(texts), np.zeros(len(texts), bool), DECLARED).columns
    values = [np.float32(value) for value in (*column.encoding.values(), column.other)]
    assert len(column.encoding) == MAX_TEXTS and len(set(values)) == len(values)
    words = AttributeWords(column)
    for text, value in list(column.encoding.items())[::100]:
        assert words(float(np.float32(value)), 0.5, "EUR") == ("ATTRIBUTE_TIER", f"tier: {text}", 0.5)
    assert words(column.other, 0.5, None)[1] == "tier: a value that training did not know"
    number = AttributeWords(AttributeColumn("basket_items", "number", unit="articles"))
    assert number(12_345.5, 0.1, "EUR") == ("ATTRIBUTE_BASKET_ITEMS", "basket items: 12,345.5 articles", 0.1)


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.booleans(), st.integers(0, 30), st.integers(0, 20)),
    min_size=1,
    max_size=40,
)


@given(rows)
def test_a_row_is_fitted_with_what_was_known_at_its_time(
    told: list[tuple[str | None, bool, int, int]],
) -> None:
    told = sorted(told, key=lambda row: row[2])
    texts = [row[0] for row in told]
    fraud = np.array([row[1] for row in told])
    event_ms = np.array([row[2] for row in told], dtype=np.int64)
    # a label comes after its payment
    known_ms = event_ms + 1 + np.array([row[3] for row in told], dtype=np.int64)
    rate = (fraud.sum() + 0.5) / (len(told) + 1)
    columns = AttributeColumns((AttributeColumn("tier", "text"),))
    found = block_to_fit(columns, columns_of(texts), fraud, event_ms, known_ms)[:, 0]
    for row, text in enumerate(texts):
        before = [k for k in range(len(told)) if texts[k] == text and known_ms[k] <= event_ms[row]]
        wanted = math.nan if text is None else odds(sum(fraud[k] for k in before), len(before), rate)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-5)


def test_what_a_stack_does_not_declare_is_named() -> None:
    needed = AttributeColumns(
        (AttributeColumn("tier", "text"), AttributeColumn("items", "text"), AttributeColumn("gone", "number"))
    )
    assert needed.missing_in(DECLARED) == [
        "attributes.items (text, declared a number)",
        "attributes.gone (number)",
    ]
