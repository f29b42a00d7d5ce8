"""Feast's point-in-time join over the real archive returns, to the bit, the vectors that decisions used."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.catalogue import NAMES
from features.feast_repo.apply import open_store
from features.feast_repo.archived import FOLDER
from features.feast_repo.definitions import HISTORY_SERVICE
from features.transaction import from_ms
from streams.log.feature_batch import FeatureRecord
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in
from tests.support.running import ends_of, read_topic, run_json
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ASKED = 25


def archived(settings: Settings, wanted: set[str]) -> bool:
    """Whether these transactions are in the archive."""
    found: set[str] = set()
    for path in (settings.archive_dir / FOLDER).rglob("*.parquet"):
        found.update(pq.read_table(path, columns=["transaction_id"])["transaction_id"].to_pylist())
    return wanted <= found


def newest_of_cards(settings: Settings, start: dict[int, int]) -> dict[tuple[str, datetime], FeatureRecord]:
    """Served features of one payment per card, only of payments whose time no other payment of the card shares."""
    served: dict[tuple[str, datetime], list[FeatureRecord]] = {}
    for made in rows_in(record.value() for record in read_topic(settings, "features", start)):
        served.setdefault((made.transaction.card_id, from_ms(made.event_ms)), []).append(made)
    alone = {key: made[0] for key, made in served.items() if len(made) == 1}
    by_card = {key[0]: key for key in alone}
    return {key: alone[key] for key in list(by_card.values())[:ASKED]}


def test_the_join_gives_what_was_served(running_stack: Settings) -> None:
    start = ends_of(running_stack, "features", running_stack.partitions)
    run_json(running_stack, "simulate", "--rate", "200", "--seconds", "4", "--seed", "33", "--cards", "60")
    served = newest_of_cards(running_stack, start)
    assert len(served) == ASKED
    wanted = {made.transaction.transaction_id for made in served.values()}
    until(lambda: archived(running_stack, wanted), 60, "the archive to hold what was served")
    store = open_store(running_stack.feast_dir)
    asked = pd.DataFrame(list(served), columns=["card_id", "event_timestamp"])
    joined = store.get_historical_features(asked, store.get_feature_service(HISTORY_SERVICE)).to_df()
    assert len(joined) == len(served)
    for _, row in joined.iterrows():
        made = served[row["card_id"], row["event_timestamp"].to_pydatetime()]
        assert row["transaction_id"] == made.transaction.transaction_id
        own = row[list(NAMES)].to_numpy(dtype=np.float32)
        vector = np.frombuffer(made.vector, dtype="<f4")
        same = (own.view(np.uint32) == vector.view(np.uint32)) | (np.isnan(own) & np.isnan(vector))
        assert same.all(), [NAMES[i] for i in np.flatnonzero(~same)]
