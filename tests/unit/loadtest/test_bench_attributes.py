"""The measurement of attributes goes the whole way: with ten of them every step has work, without any nothing is scored or watched for them."""

from __future__ import annotations

from loadtest.bench.attributes import NAMES, ROWS, TENANTS, records, steps
from streams.processor.intake import sort_out


def test_all_rows_are_accepted_with_their_attributes() -> None:
    found = sort_out(records(True), 1, 100, tenants=TENANTS)
    assert len(found.accepted) == ROWS and not found.refused and not found.undeclared_attributes
    assert all(set(sent) == set(NAMES) for sent in found.accepted.columns.attributes)


def test_each_step_is_measured_once() -> None:
    with_ten, without = steps(records(True)), steps(records(False))
    assert (
        list(with_ten)
        == list(without)
        == ["parsed", "carried", "read by scoring", "scored", "watched", "archived"]
    )
    assert all(us > 0 for us in with_ten.values())
