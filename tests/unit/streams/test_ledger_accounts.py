"""The accounts against obvious examples: every way in which a transaction can end, twice, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from features.identity import identity_of
from streams.audit import Accounts
from streams.audit.sampled_books import SampledBooks
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.log.records import HEADER_SOURCE_OFFSET
from tests.support.ledger_records import Record, dead, decision, tx


def balance(*records: Record, tenants: Tenants = ANY_TENANT):
    accounts = Accounts(tenants=tenants)
    accounts.add(records)
    return accounts.balance()


def test_empty_log_balances() -> None:
    assert balance().balanced and balance().ingested == 0


def test_each_status_counts_once_and_latency_runs_from_append_to_append() -> None:
    sums = balance(
        tx("a", 0, 100), tx("b", 1, 100), tx("c", 2, 100),
        decision("c", 190, "not_scored"), decision("a", 105), decision("b", 120, "degraded"),
    )  # fmt: skip
    assert (sums.scored, sums.degraded, sums.not_scored, sums.ingested) == (1, 1, 1, 3)
    assert sums.balanced and sorted(sums.latency_ms) == [5, 20, 90]


def test_undecided_is_in_flight() -> None:
    sums = balance(tx("a", 0), tx("b", 1), decision("a"))
    assert (sums.in_flight, sums.balanced) == (1, False)


def test_decided_twice_does_not_balance() -> None:
    sums = balance(tx("a", 0, 10), decision("a", 20), decision("a", 30, "degraded"))
    assert (sums.duplicated, sums.scored, sums.degraded, sums.balanced) == (1, 1, 0, False)
    assert list(sums.latency_ms) == [10]


def test_a_missing_one_is_not_hidden_by_a_doubled_one() -> None:
    sums = balance(tx("a", 0), tx("b", 1), decision("a"), decision("a"))
    assert (sums.in_flight, sums.duplicated, sums.decided) == (1, 1, 1)


def test_the_same_id_of_two_tenants_is_two_transactions() -> None:
    def of(tenant: str, record: Record) -> Record:
        value = json.loads(record.raw or b"")
        return Record(record.name, record.place, record.at, json.dumps({**value, "tenant": tenant}).encode())

    sums = balance(
        of("a", tx("1001", 0)),
        of("b", tx("1001", 1)),
        tx("1001", 2),
        of("b", decision("1001")),
        decision("1001"),
    )
    assert (sums.ingested, sums.scored, sums.in_flight, sums.duplicated) == (3, 2, 1, 0)


def test_forwarded_copies_and_exact_resends_count_once_from_the_first_append() -> None:
    sums = balance(tx("a", 7, 50, partition=1), tx("a", 0, 80, partition=2), decision("a", 90))
    assert (sums.ingested, sums.balanced, list(sums.latency_ms)) == (1, True, [40])


def forwarded(record: Record, partition: int, offset: int) -> Record:
    return replace(
        record, more=[("other", b"1"), ("tollgate-forwarded-from", b"%d:%d" % (partition, offset))]
    )


def test_a_forwarded_record_that_is_refused_is_one_dead_letter() -> None:
    """The misplaced record's place has no outcome of its own: its copy's counts for it."""
    found = tx("a", 7, 50, partition=1), forwarded(tx("a", 0, 80, partition=2), 1, 7)
    sums = balance(*found, dead(0, 2))
    assert (sums.ingested, sums.dead_lettered, sums.in_flight, sums.repeated, sums.balanced) == (
        1,
        1,
        0,
        0,
        True,
    )
    # the same where it is decided, and where it is forwarded once more
    twice = forwarded(tx("a", 4, 95, partition=0), 2, 0)
    for records in (found, (*found, twice)):
        sums = balance(*records, decision("a", 120))
        assert (sums.ingested, sums.repeated, list(sums.latency_ms), sums.balanced) == (1, 0, [70], True)
    assert balance(*found).in_flight == 1


def test_nobody_hides_a_record_by_saying_that_it_was_forwarded() -> None:
    other = forwarded(tx("b", 0, partition=2), 1, 7)
    sums = balance(tx("a", 7, partition=1), other, decision("b"))
    assert (sums.ingested, sums.in_flight) == (2, 1)
    for raw in (b"", b"x:1", b"1", b"1:", b"-1:7", b"1:99999999999999999999", b"\xff:1"):
        odd = replace(tx("a", 0), more=[("tollgate-forwarded-from", raw)])
        assert balance(odd, decision("a")).balanced


def test_what_is_sent_again_is_told_and_not_ingested_again() -> None:
    sums = balance(tx("a", 0), tx("a", 1), tx("b", 2), tx("a", 3), decision("a"), decision("b"))
    assert (sums.ingested, sums.repeated, sums.scored, sums.balanced) == (2, 2, 2, True)


def test_refused_records_balance_with_their_dead_letters_however_often_refused() -> None:
    broken = Record("transactions", (1, 4), 0, b"{not json")
    nothing = Record("transactions", (1, 5), 0, None)
    assert balance(broken, nothing).in_flight == 2
    sums = balance(broken, nothing, dead(4, 1), dead(4, 1), dead(5, 1))
    assert (sums.ingested, sums.dead_lettered, sums.balanced) == (2, 2, True)


def test_dead_letters_of_other_topics_or_offsets_do_not_help() -> None:
    broken = Record("transactions", (1, 4), 0, b"{not json")
    assert balance(broken, dead(4, 1, "labels"), dead(4, 2), dead(5, 1)).in_flight == 1


def test_a_mended_record_counts_beside_its_refused_one() -> None:
    sums = balance(tx("a", 0), dead(0), tx("a", 9), decision("a"))
    assert (sums.ingested, sums.dead_lettered, sums.scored, sums.balanced) == (2, 1, 1, True)


def test_a_decision_about_nothing_is_unknown_and_does_not_balance() -> None:
    sums = balance(tx("a", 0), decision("a"), decision("ghost"))
    assert (sums.unknown, sums.balanced) == (1, False)


def test_only_mine_are_counted_where_asked() -> None:
    accounts = Accounts(mine=lambda record: b"my-" in record.value())
    accounts.add([tx("my-1", 0), tx("theirs", 1), decision("theirs"), decision("my-1"), dead(1)])
    sums = accounts.balance()
    assert (sums.ingested, sums.scored, sums.dead_lettered, sums.in_flight) == (1, 1, 0, 0)


@pytest.mark.parametrize("raw", [None, b"", b"{}", b"\xff", b'{"transaction_id":3}', b"[" * 100_000])
def test_a_decision_that_cannot_be_read_leaves_its_transaction_open(raw: bytes | None) -> None:
    assert balance(tx("a", 0), Record("decisions", (0, 0), 0, raw)).in_flight == 1


@pytest.mark.parametrize("raw", [None, b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_transaction_that_cannot_be_read_is_still_counted(raw: bytes | None) -> None:
    assert balance(Record("transactions", (0, 0), 0, raw)).ingested == 1


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(" a ", "a"), ("caf\u00e9", "caf\u00e9"), ("cafe\u0301", "caf\u00e9"), ("a b ", "a b")],
)
def test_an_identity_is_the_same_in_whatever_form_it_was_sent(sent: str, stored: str) -> None:
    sums = balance(tx(sent, 0), decision(stored))
    assert sums.balanced and (sums.ingested, sums.scored, sums.unknown) == (1, 1, 0)


def test_the_sampled_books_know_it_too() -> None:
    books = SampledBooks()
    books.begin_look([tx(" a ", 0)])
    assert list(books.open) == [identity_of("default", "a")]
    done = replace(decision("a"), more=[(HEADER_SOURCE_OFFSET, b"0")])
    books.add_decisions([done], {0: 1})
    assert not books.open and not books.faults()


KNOWN = Tenants(frozenset({"shop-a", "shop-b"}), "shop-b")


def test_of_an_unknown_tenant_a_payment_counts_where_it_is_decided() -> None:
    """With `unknown_tenant` its decision names another tenant than its record."""
    sums = balance(
        tx("a", 0, tenant="who"), tx("a", 1, tenant="shop-b"), tx("a", 2, tenant="shop-a"),
        decision("a", tenant="shop-b"), decision("a", tenant="shop-a"), tenants=KNOWN,
    )  # fmt: skip
    assert sums.balanced and (sums.ingested, sums.scored, sums.repeated) == (2, 2, 1)
    # without one it is refused: by its own name it stays in flight until its dead letter is read
    refusing = Tenants(KNOWN.known)
    assert balance(tx("a", 0, tenant="who"), tenants=refusing).in_flight == 1
    assert balance(tx("a", 0, tenant="who"), dead(0), tenants=refusing).balanced


def test_the_sampled_books_know_for_which_tenant_it_counts() -> None:
    books = SampledBooks(KNOWN)
    books.begin_look([tx("a", 0, tenant="who")])
    done = replace(decision("a", tenant="shop-b"), more=[(HEADER_SOURCE_OFFSET, b"0")])
    books.add_decisions([done], {0: 1})
    assert not books.open and not books.faults()
