"""Sampled parity in production: what was served is compared with what the records give; a flipped bit is seen."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np

from features.catalogue import INDEX
from features.kernels.columns import text_hash
from streams.audit.parity.card_watch import ParityWatch
from streams.log.feature_batch import FeatureBatch, FeatureRecord
from streams.log.other_catalogues import Layouts
from tests.support.catalogue_samples import BEFORE, UNKNOWN, as_written_by
from tests.support.feature_batches import batch_of, batches_in
from tests.support.stage import Stage


def compared() -> float:
    from streams.runtime.metrics import PARITY_COMPARED

    return float(next(iter(PARITY_COMPARED.collect())).samples[0].value)


def world(seed: int) -> list[FeatureRecord]:
    stage = Stage(seed)
    stage.run(200)
    return stage.made()


def each(records: Sequence[FeatureRecord]) -> list[FeatureBatch]:
    """The rows as batches of one."""
    return [batch_of([record]) for record in records]


def test_what_is_served_is_what_the_records_give() -> None:
    for seed in range(5):
        before = compared()
        stage = Stage(seed)
        stage.run(200)
        batches = batches_in(record.value for record in stage.log.records("features"))
        assert ParityWatch(UNKNOWN, one_in=1, settle_ms=0).add(batches) == 0
        assert max(map(len, batches)) > 2 and compared() - before > 50


def test_a_flipped_bit_is_seen_and_the_rest_still_agrees() -> None:
    records = world(1)
    chance = random.Random(3)
    spoilt: list[FeatureRecord] = []
    flipped = 0
    for record in records:
        vector = np.frombuffer(record.vector, "<u4").copy()
        if flipped == 0 and len(spoilt) > 60 and not record.missing and not record.decided:
            vector[INDEX["card_sum_7d"]] ^= np.uint32(1 << chance.randrange(20))
            flipped += 1
        spoilt.append(msgspec.structs.replace(record, vector=vector.tobytes()))
    assert flipped == 1
    # a repetition of the record does not count again
    assert ParityWatch(UNKNOWN, one_in=1, settle_ms=0).add(each([*spoilt, *spoilt])) == 1


def test_cards_of_the_first_minutes_are_not_followed() -> None:
    records = world(2)
    before = compared()
    assert ParityWatch(UNKNOWN, one_in=1).add(each(records)) == 0
    assert compared() == before


def test_the_number_of_cards_is_bounded() -> None:
    followed = []
    for seed in range(6):
        watch = ParityWatch(UNKNOWN, max_cards=2, one_in=1, settle_ms=0)
        assert watch.add(each(world(seed))) == 0
        followed.append(len(watch._slots))
    assert max(followed) == 2


def test_only_rows_of_cards_of_the_sample_are_looked_at() -> None:
    one_in = 3
    watch = ParityWatch(UNKNOWN, one_in=one_in)
    every = world(3)
    chosen = [r for batch in each(every) if (some := watch._sampled(batch)) for r in some.records()]
    assert chosen == [r for r in every if text_hash(r.transaction.card_id) % one_in == 0]
    assert 0 < len(chosen) < len(every)


def test_records_of_another_catalogue_are_followed_by_what_both_know() -> None:
    records = world(1)
    layouts = Layouts({BEFORE.catalogue: BEFORE}.get)
    turns = [as_written_by(BEFORE, r) if n % 2 else r for n, r in enumerate(records)]
    before = compared()
    assert ParityWatch(layouts, one_in=1, settle_ms=0).add(each(turns)) == 0
    every = compared() - before
    # all that is compared of this code's own records alone
    before = compared()
    assert ParityWatch(UNKNOWN, one_in=1, settle_ms=0).add(each(records)) == 0
    assert every == compared() - before > 50
    place = next(n for n, r in enumerate(turns) if n > 60 and n % 2 and not r.missing and not r.decided)
    vector = np.frombuffer(turns[place].vector, "<u4").copy()
    vector[BEFORE.names.index("card_sum_7d")] ^= np.uint32(1)
    turns[place] = msgspec.structs.replace(turns[place], vector=vector.tobytes())
    assert ParityWatch(layouts, one_in=1, settle_ms=0).add(each(turns)) == 1


def test_a_payment_whose_vector_nobody_can_read_counts_for_the_next_ones() -> None:
    records = world(1)
    newest: dict[str, int] = {}
    for place, record in enumerate(records):
        newest[record.transaction.card_id] = place
    unreadable = [place for place in range(60, len(records)) if place not in newest.values()]
    assert unreadable
    spoilt = [
        msgspec.structs.replace(r, catalogue="nobody's") if n in unreadable[::2] else r
        for n, r in enumerate(records)
    ]
    before = compared()
    assert ParityWatch(UNKNOWN, one_in=1, settle_ms=0).add(each(spoilt)) == 0
    assert compared() - before > 30
