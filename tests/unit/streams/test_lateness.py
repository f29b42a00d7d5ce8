"""What late payments would have changed: counted, marked on their features record, scored again in hindsight."""

from __future__ import annotations

from typing import Any

import pytest

from features.catalogue import NAMES
from streams.audit.lateness import Lateness, in_hindsight
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from tests.support.catalogue_samples import UNKNOWN, as_written_by, layout
from tests.support.feature_batches import batch_of
from tests.support.late_payments import CountsPayments, served

HOUR_MS = 3_600_000


def judged(records: list[FeatureRecord]) -> tuple[Lateness, Any]:
    lateness = Lateness()
    for record in records:
        lateness.add(batch_of([record]))
    scorer: Any = CountsPayments()
    return lateness, in_hindsight(
        [r for r in records if r.transaction.card_id in lateness.cards], scorer, UNKNOWN
    )


def test_a_late_payment_would_have_declined_one() -> None:
    # the payment of minute 5 comes after that of minute 20, which then were the third of its hour
    lateness, found = judged(served([0, 20, 5, 200]))
    assert [payment.late_ms for payment in lateness.late] == [15 * 60_000]
    assert lateness.figures()["late_by_s"] == {"p50": 900.0, "p99": 900.0, "max": 900.0}
    assert (found.compared, found.decisions_changed) == (4, 1)
    assert found.features_changed >= 1


def test_in_order_nothing_is_late() -> None:
    lateness, found = judged(served([0, 5, 20]))
    assert (lateness.figures()["late"], lateness.figures()["late_by_s"]["max"]) == (0, None)
    assert found.compared == 0


def test_what_the_log_does_not_hold_any_more_makes_no_difference() -> None:
    """Of what was served, half was counted from payments that are gone: only disorder is told."""
    # the fourth of an hour was declined; the one that came late changes nothing
    records = served([0, 1, 2, 3, 400, 395])[3:]
    lateness, found = judged(records)
    assert (len(lateness.late), found.compared) == (1, 3)
    assert found.decisions_changed == 0
    scorer: Any = CountsPayments()
    in_order = in_hindsight(served([0, 1, 2, 3, 400, 405])[3:], scorer, UNKNOWN)
    assert (in_order.compared, in_order.features_changed, in_order.decisions_changed) == (3, 0, 0)
    # and one that would have, does
    assert judged(served([0, 1, 2, 600, 620, 605])[3:])[1].decisions_changed == 1


def test_hindsight_of_what_came_in_order_is_what_was_served() -> None:
    records = served([0, 5, 20, 20, 300])
    scorer: Any = CountsPayments()
    found = in_hindsight(records, scorer, UNKNOWN)
    assert (found.compared, found.features_changed, found.decisions_changed) == (5, 0, 0)


@pytest.mark.parametrize(("late_h", "mark"), [(23.9, 0), (25, 25 * HOUR_MS)])
def test_later_than_the_bound_is_marked_on_the_record(late_h: float, mark: int) -> None:
    records = served([0, 6000, 6000 - late_h * 60])
    assert [record.late_ms for record in records] == [0, 0, mark]
    lateness, _ = judged(records)
    assert lateness.figures()["beyond_bound"] == (mark > 0)


def test_a_repeated_record_counts_once() -> None:
    records = served([0, 20, 5])
    lateness = Lateness()
    assert lateness.add(batch_of(records[:2])) is not None
    # the second one begins with a duplicate
    fresh = lateness.add(batch_of(records[1:]))
    assert fresh is not None and fresh.columns.offset == [records[2].offset]
    assert lateness.add(batch_of(records)) is None
    assert (lateness.transactions, len(lateness.late)) == (3, 1)


def test_what_an_older_catalogue_had_not_would_not_have_been_there_in_order_either() -> None:
    lacks = layout("la" * 8, [name for name in NAMES if name != "card_count_10m"])
    layouts = Layouts({lacks.catalogue: lacks}.get)
    scorer: Any = CountsPayments()
    older = [as_written_by(lacks, record) for record in served([0, 5, 20, 20, 300])]
    in_order = in_hindsight(older, scorer, layouts)
    assert (in_order.compared, in_order.features_changed) == (5, 0)
    late = [as_written_by(lacks, record) for record in served([0, 20, 5, 200])]
    assert in_hindsight(late, scorer, layouts) == in_hindsight(served([0, 20, 5, 200]), scorer, UNKNOWN)
    # without what the model reads there is nothing to compare
    blind = layout("b1" * 8, [name for name in NAMES if name != "card_count_1h"])
    mixed = [
        as_written_by(blind, record) if n == 0 else record for n, record in enumerate(served([0, 20, 5, 200]))
    ]
    assert in_hindsight(mixed, scorer, Layouts({blind.catalogue: blind}.get)).compared == 3
