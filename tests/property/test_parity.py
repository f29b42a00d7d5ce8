"""Whatever the chunks, the lag between stages and the crashes: features recomputed from the log are those served."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import INDEX
from features.transaction import Transaction
from streams.audit.parity.sample import Reservoir
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from tests.support.archive_samples import features
from tests.support.catalogue_samples import BEFORE, as_written_by
from tests.support.feature_batches import decode_features, encode_features
from tests.support.parity_world import unbounded
from tests.support.stage import Stage


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_served_features_are_recomputed_bit_by_bit(seed: int) -> None:
    stage = Stage(seed)
    stage.run(40)
    samples = stage.samples()
    verdict = stage.judged(samples)
    assert verdict.differing == []
    assert (verdict.compared, verdict.identical, verdict.unexplained) == (len(samples), len(samples), 0)


class LateAndForgetful(Stage):
    """Payments come up to ten days late; the store loses what it was last told, now and then, and is read again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kept = self._copy()
        self.lost = 0

    def chunk(self, crash: bool | None = None) -> None:
        if crash is None and self.random.random() < 0.15:
            self.redis.restore(self.kept)
            self.worker.start_again()
            self.lost += 1
        if self.random.random() < 0.3:
            self.kept = self._copy()
        super().chunk(crash)

    def _copy(self) -> Any:
        return self.redis.copied()

    def _transaction(self) -> Transaction:
        tx = super()._transaction()
        if self.random.random() < 0.6:
            return tx
        late = timedelta(seconds=self.random.randrange(10 * 86_400))
        return msgspec.structs.replace(tx, event_time=tx.event_time - late)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_late_payments_and_a_store_that_lost_its_last_second_differ_in_nothing(seed: int) -> None:
    """So there is no reason by these names: a record says what was read, and that is on the log."""
    stage = LateAndForgetful(seed)
    stage.run(60)
    samples = stage.samples()
    verdict = stage.judged(samples)
    assert (verdict.identical, verdict.explained, verdict.differing) == (len(samples), {}, [])


def test_payments_do_come_late_and_the_store_does_forget() -> None:
    stage = LateAndForgetful(5)
    stage.run(120)
    assert stage.lost > 3
    assert sum(sample.late_ms > 0 for sample in stage.samples()) > 3
    assert len(stage.made()) > len(stage.samples())


def test_the_world_shows_what_it_should() -> None:
    """Repeated records, edge-made vectors and counted history occur, so that the property above says something."""
    stage = Stage(7)
    stage.run(200)
    samples = stage.samples()
    rows = np.stack([np.frombuffer(sample.vector, "<f4") for sample in samples])
    assert len(stage.made()) > len(samples)
    assert any(sample.decided for sample in samples)
    assert any(sample.missing for sample in samples)
    assert np.nanmax(rows[:, INDEX["card_count_24h"]]) > 3
    assert np.nanmax(rows[:, INDEX["merchant_count_24h"]]) > 3
    assert np.nanmax(rows[:, INDEX["card_frauds_30d"]]) > 0
    assert len({sample.transaction.transaction_id for sample in samples}) == len(samples)


def _corrupted(sample: FeatureRecord, **changes: Any) -> FeatureRecord:
    return decode_features(encode_features(msgspec.structs.replace(sample, **changes)))


def test_one_flipped_bit_is_found() -> None:
    stage = Stage(3)
    stage.run(60)
    samples = stage.samples()
    place = next(i for i, sample in enumerate(samples) if not sample.missing)
    vector = np.frombuffer(samples[place].vector, "<u4").copy()
    vector[INDEX["card_sum_24h"]] ^= 1
    samples[place] = _corrupted(samples[place], vector=vector.tobytes())
    verdict = stage.judged(samples)
    assert (verdict.unexplained, verdict.identical) == (1, len(samples) - 1)
    assert verdict.differing == [(samples[place].partition, samples[place].offset, [INDEX["card_sum_24h"]])]


def test_state_of_another_moment_is_found() -> None:
    stage = Stage(5)
    stage.run(80)
    samples = stage.samples()
    late = max(range(len(samples)), key=lambda i: samples[i].as_of[0])
    samples[late] = _corrupted(samples[late], as_of=(-1, *samples[late].as_of[1:]))
    assert stage.judged(samples).unexplained == 1


def test_a_log_cut_after_all_it_tells_of_explains_what_is_read_of_state() -> None:
    """Its records were appended after every event: of them it proves nothing. `test_parity_truncated` has the others."""
    stage = Stage(11)
    stage.run(60)
    samples = stage.samples()
    verdict = stage.judged(samples, skip=5)
    assert verdict.unexplained == 0
    assert verdict.explained["log_truncated"] > 0
    assert verdict.identical + verdict.explained["log_truncated"] == len(samples)
    vector = np.frombuffer(samples[-1].vector, "<u4").copy()
    vector[INDEX["amount"]] ^= 1
    samples[-1] = _corrupted(samples[-1], vector=vector.tobytes())
    assert stage.judged(samples, skip=5).unexplained == 1


def test_another_catalogue_is_not_compared() -> None:
    stage = Stage(13)
    stage.run(30)
    samples = [_corrupted(sample, catalogue="other") for sample in stage.samples()]
    assert stage.judged(samples).explained == {"other_catalogue": len(samples)}


def test_a_reservoir_holds_each_source_offset_once() -> None:
    stage = Stage(17)
    stage.run(120)
    reservoir = Reservoir(5, 2, unbounded)
    for record in stage.log.records("features"):
        reservoir.add(record.value, record.partition)
    reservoir.add(b"not a record", 0)
    reservoir.add(None, 0)
    kept = reservoir.records
    assert len({(record.partition, record.offset) for record in kept}) == 5


def test_a_reservoir_is_filled_from_the_rows_of_all_batches_alike() -> None:
    """Of ten rows that come in two batches, each is among the five as often."""
    rows = [decode_features(features(number).value) for number in range(10)]
    values = [encode_features(*rows[:2]), encode_features(*rows[2:])]
    found: Counter[int] = Counter()
    for seed in range(400):
        reservoir = Reservoir(5, seed, unbounded)
        for value in values:
            reservoir.add(value, 0)
        found.update(record.offset for record in reservoir.records)
    assert all(160 < found[number] < 240 for number in range(10)), found


def test_of_another_catalogue_is_compared_what_both_know() -> None:
    stage = Stage(13)
    stage.run(60)
    layouts = Layouts({BEFORE.catalogue: BEFORE}.get)
    samples = [as_written_by(BEFORE, sample) for sample in stage.samples()]
    verdict = stage.judged(samples, layouts=layouts)
    assert (verdict.identical, verdict.explained, verdict.unexplained) == (len(samples), {}, 0)
    place = next(n for n, sample in enumerate(samples) if not sample.missing)
    vector = np.frombuffer(samples[place].vector, "<u4").copy()
    vector[BEFORE.names.index("card_sum_24h")] ^= 1
    samples[place] = _corrupted(samples[place], vector=vector.tobytes())
    verdict = stage.judged(samples, layouts=layouts)
    assert verdict.unexplained == 1
    assert verdict.differing[0][2] == [INDEX["card_sum_24h"]]
