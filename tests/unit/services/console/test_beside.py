"""Features of a payment beside the card's earlier ones, over files as the archive writes them, and beside the reference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import NAMES
from features.feast_repo.archived import COLUMNS, SCHEMA
from models.bundle.reference import Reference
from services.console.outside import card_history
from services.console.outside.beside import beside
from services.console.outside.card_history import features_of_card
from streams.archive.writer import write_parquet

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def reference(amounts: list[float]) -> Reference:
    matrix = np.full((len(amounts), len(NAMES)), np.nan, np.float32)
    matrix[:, NAMES.index("amount")] = amounts
    return Reference(matrix, np.zeros(len(amounts), np.float32), tuple(NAMES))


def archived(
    folder: Path, amounts: list[float | None], first: datetime, card: str = "c", tenant: str = "default"
) -> None:
    """Payments of a card, a minute apart."""
    times = [first + timedelta(minutes=n) for n in range(len(amounts))]
    columns = {
        "event_timestamp": times, COLUMNS["amount"]: amounts, "card_id": [card] * len(amounts), "tenant": [tenant] * len(amounts),
    }  # fmt: skip
    empty = [None] * len(amounts)
    table = pa.table(
        [pa.array(columns.get(field.name, empty), field.type) for field in SCHEMA], schema=SCHEMA
    )
    write_parquet(
        folder / "features" / f"date={first.date()}" / f"{card}-{tenant}-{first:%H%M}.parquet", table
    )


def test_peers_are_the_share_that_is_lower() -> None:
    found = beside(
        {"amount": 30.0, "card_count_1h": 2.0, "made-up": 1.0, "mcc": None},
        reference([10, 20, 30, 40, float("nan")]),
        pa.table({}),
    )
    assert (found["peers"], found["past"]) == (5, 0)
    # two of four are lower, and the equal one counts half
    assert found["features"]["amount"] == {"peers": 0.625, "past": None}
    assert found["features"]["card_count_1h"]["peers"] is None
    assert found["features"]["made-up"]["peers"] is None and "mcc" not in found["features"]


def test_the_past_is_the_same_cards_before_the_moment(tmp_path: Path) -> None:
    archived(tmp_path, [10, 20, None], AT - timedelta(days=3))
    archived(tmp_path, [60, 70], AT - timedelta(minutes=1))
    archived(tmp_path, [500], AT - timedelta(hours=1), card="other")
    archived(tmp_path, [600], AT - timedelta(hours=2), tenant="shop")
    past = features_of_card(tmp_path, "default", "c", AT)
    found = beside({"amount": 30.0}, reference([1.0]), past)
    assert found["past"] == 4
    assert found["features"]["amount"]["past"] == [10, 20, 60]
    assert len(features_of_card(tmp_path, "default", "nobody", AT)) == 0


def test_enough_of_the_past_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_history, "MAX_PAST", 2)
    archived(tmp_path, [1, 2], AT - timedelta(days=1))
    archived(tmp_path, [3, 4], AT - timedelta(days=2))
    past = features_of_card(tmp_path, "default", "c", AT)
    assert len(past) == 2
