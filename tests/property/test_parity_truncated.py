"""What a log that lost its beginning may explain: columns that reach back to what is gone, and no others."""

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import CATALOGUE_HASH, FEATURES, INDEX, NAMES
from features.kernels.columns import columns_of, text_hash
from features.transaction import Transaction, from_ms
from streams.audit.parity.recompute import Evidence, Verdict, judge
from streams.audit.parity.sample import needed_of
from streams.audit.parity.truncation import cut_before
from streams.contracts.text.json_encoding import encode
from streams.log.feature_batch import FeatureRecord
from streams.log.records import EntityItem, EntityItems, LabelStatement, encode_items
from streams.processor.payment_updates import pack_paid
from streams.runtime.kafka.log_reader import LogRow
from tests.support.catalogue_samples import UNKNOWN

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEGIN_MS = 1_780_000_000_000


class History(NamedTuple):
    """Rows of both topics, one partition each, and what was served for each transaction."""

    transactions: list[LogRow]
    entities: list[LogRow]
    samples: list[FeatureRecord]

    def judged(
        self, skip: int, skip_entities: int, samples: list[FeatureRecord] | None = None
    ) -> tuple[list[FeatureRecord], Verdict]:
        """What a log says that begins at these offsets, of the transactions that are on it (or of ``samples``)."""
        samples = [s for s in self.samples if s.offset >= skip] if samples is None else samples
        evidence = Evidence(samples, 1)
        evidence.add_transactions(self.transactions[skip:])
        for row in self.entities[skip_entities:]:
            evidence.add_entities(row)
        return samples, judge(samples, evidence, {0: skip}, {0: skip_entities}, UNKNOWN)


def history(seed: int, days: int = 50, a_day: float = 4.0, cards: int = 3, most: int = 60) -> History:
    """Few cards that pay for many days; some payments late by days, some ahead of the broker's clock, some frauds.

    ``most``: how many of the transactions are looked at.
    """
    chance = random.Random(seed)
    transactions: list[LogRow] = []
    entities: list[LogRow] = []
    read: list[tuple[Transaction, int]] = []
    labels: list[tuple[int, Transaction]] = []
    now_ms = BEGIN_MS
    while now_ms < BEGIN_MS + days * DAY_MS:
        now_ms += int(chance.expovariate(a_day * cards / DAY_MS)) + 1
        while labels and labels[0][0] <= now_ms:
            moment, tx = labels.pop(0)
            offset = len(entities)
            items = [
                EntityItem(entity, name, "label", offset, tx.event_ms, 0, 0, 1, None, LabelStatement(tx.transaction_id, moment, offset))
                for entity, name in (("card", tx.card_id), ("merchant", tx.merchant_id), ("customer", "cu-1"))
            ]  # fmt: skip
            entities.append(LogRow(0, offset, moment, encode_items(EntityItems("labels", 0, items)), None))
        behind = chance.choice([0, 0, 0, chance.randrange(3 * DAY_MS), -chance.randrange(DAY_MS)])
        tx = Transaction(
            transaction_id=f"t{len(transactions)}",
            event_time=from_ms(now_ms - behind),
            card_id=f"card-{chance.randrange(cards)}",
            merchant_id=f"m-{chance.randrange(3)}",
            amount_minor=chance.randrange(1, 20_000),
            currency="EUR",
            device_id=chance.choice([None, "d-1", "d-2"]),
            ip=chance.choice([None, "203.0.113.7"]),
            customer_id=chance.choice([None, "cu-1"]),
            country=chance.choice([None, "FR", "DE"]),
            latitude=chance.choice([None, 48.8]),
            longitude=2.3,
            channel="ecom",
        )
        offset = len(transactions)
        transactions.append(LogRow(0, offset, now_ms, encode(tx), None))
        read.append((tx, len(entities) - 1))
        columns = columns_of([tx], [tx.event_ms], [offset])
        ids = [[tx.merchant_id], [tx.device_id], [tx.ip], [tx.customer_id]]
        homes = np.array([[0 if name else -1 for (name,) in ids]])
        paid = pack_paid(
            columns, np.array([text_hash(tx.card_id)], np.uint32), ids, homes, np.zeros(1, np.int64), np.ones(1, np.bool_)
        )[(0, 0)]  # fmt: skip
        value = encode_items(EntityItems("transactions", 0, [], paid))
        entities.append(LogRow(0, len(entities), now_ms, value, None))
        if chance.random() < 0.2:
            labels.append((now_ms + 2 * DAY_MS, tx))
    served = [
        FeatureRecord(
            CATALOGUE_HASH, 0, offset, row.timestamp, 0, 0, tx, tx.event_ms, b"", (offset - 1, *[at] * 4), frauds_as_of=at
        )
        for offset, (row, (tx, at)) in enumerate(zip(transactions, read, strict=True))
    ]  # fmt: skip
    served = sorted(chance.sample(served, min(most, len(served))), key=lambda sample: sample.offset)
    whole = Evidence(served, 1)
    whole.add_transactions(transactions)
    for row in entities:
        whole.add_entities(row)
    vectors = whole.recompute(served)
    samples = [msgspec.structs.replace(s, vector=v.tobytes()) for s, v in zip(served, vectors, strict=True)]
    return History(transactions, entities, samples)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.sampled_from([1.0, 4.0, 12.0]))
def test_a_log_that_lost_its_beginning_leaves_nothing_unexplained(
    seed: int, cut: float, cut_entities: float, a_day: float
) -> None:
    past = history(seed, a_day=a_day)
    skip, skip_entities = int(cut * len(past.transactions)), int(cut_entities * len(past.entities))
    samples, verdict = past.judged(skip, skip_entities)
    assert verdict.differing == []
    assert verdict.identical + verdict.explained.get("log_truncated", 0) == len(samples)


def newest_of(past: History) -> FeatureRecord:
    """The newest that names everybody, and that comes neither late nor ahead."""
    return next(
        s for s in reversed(past.samples)
        if s.transaction.customer_id and s.transaction.device_id and s.transaction.ip
        and abs(s.event_ms - s.appended_ms) < HOUR_MS
    )  # fmt: skip


def flipped(sample: FeatureRecord, column: int) -> FeatureRecord:
    vector = np.frombuffer(sample.vector, "<u4").copy()
    # no neighbour: a wrong number, not another order of a sum; of NaN a number
    vector[column] = 0x3F9D70A4 if np.isnan(vector.view("<f4")[column]) else vector[column] ^ 0x00300000
    return msgspec.structs.replace(sample, vector=vector.tobytes())


@pytest.fixture(scope="module")
def past() -> History:
    """Fifty days, of which thirty are kept below."""
    return history(7, a_day=1.0, most=1000)


def kept_days(past: History, days: int) -> tuple[int, int]:
    """Offsets at which the log of the last ``days`` begins."""
    since = past.transactions[-1].timestamp - days * DAY_MS
    return (
        next(row.offset for row in past.transactions if row.timestamp >= since),
        next(row.offset for row in past.entities if row.timestamp >= since),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_bit_is_explained_only_where_history_was_cut(past: History, name: str) -> None:
    skip, skip_entities = kept_days(past, 30)
    sample = newest_of(past)
    feature = FEATURES[INDEX[name]]
    _, verdict = past.judged(skip, skip_entities, [flipped(sample, INDEX[name])])
    began = past.transactions[skip].timestamp
    back_s = feature.look_back_s
    within = back_s is not None and sample.event_ms - 1000 * back_s > cut_before(began)
    if within or feature.truncation == "last_payment":
        assert verdict.differing == [(0, sample.offset, [INDEX[name]])], verdict
    else:
        assert verdict.explained == {"log_truncated": 1}


def test_what_thirty_days_of_log_prove(past: History) -> None:
    """LabelStatement once without the rule: windows of a week and less, and what does not look back; a month is not there."""
    skip, skip_entities = kept_days(past, 30)
    sample = newest_of(past)
    for name in ("card_count_1h", "card_sum_7d", "customer_max_24h", "merchant_count_7d", "ip_cards_1h",
                 "merchant_fraud_rate_7d", "card_declined_1h", "amount"):  # fmt: skip
        assert past.judged(skip, skip_entities, [flipped(sample, INDEX[name])])[1].unexplained == 1, name
    for name in (
        "card_count_30d",
        "card_age_days",
        "card_hour_share",
        "device_fraud_rate_30d",
        "customer_new_country",
    ):
        assert past.judged(skip, skip_entities, [flipped(sample, INDEX[name])])[1].unexplained == 0, name
    # only what a cut profile is read for: the card's own log is whole
    assert past.judged(0, skip_entities, [flipped(sample, INDEX["card_age_days"])])[1].unexplained == 1
    assert past.judged(0, skip_entities, [flipped(sample, INDEX["card_frauds_30d"])])[1].unexplained == 0
    assert past.judged(skip, 0, [flipped(sample, INDEX["card_frauds_30d"])])[1].unexplained == 1


def test_a_spread_is_a_neighbour_at_most_after_the_log_was_cut(past: History) -> None:
    skip, skip_entities = kept_days(past, 30)
    column = INDEX["card_std_7d"]
    sample = newest_of(past)
    for bits, explained in ((1, True), (2, False)):
        vector = np.frombuffer(sample.vector, "<u4").copy()
        assert np.isfinite(vector.view("<f4")[column])
        vector[column] += np.uint32(bits)
        near = [msgspec.structs.replace(sample, vector=vector.tobytes())]
        assert past.judged(skip, skip_entities, near)[1].unexplained == (0 if explained else 1)
        assert past.judged(0, 0, near)[1].unexplained == 1


def test_of_a_card_with_many_payments_only_the_newest_forty_are_proof() -> None:
    past = history(3, days=40, a_day=12.0, cards=1, most=1000)
    skip, skip_entities = kept_days(past, 20)
    sample = newest_of(past)
    # forty of twelve a day reach three days back
    for name, unexplained in (("card_count_24h", 1), ("card_count_7d", 0), ("merchant_count_7d", 1)):
        assert (
            past.judged(skip, skip_entities, [flipped(sample, INDEX[name])])[1].unexplained == unexplained
        ), name


def test_a_log_without_a_record_proves_what_a_transaction_says_itself(past: History) -> None:
    sample = past.samples[-1]
    ends = len(past.transactions), len(past.entities)
    assert past.judged(*ends, [sample])[1].unexplained == 0
    assert past.judged(*ends, [flipped(sample, INDEX["amount"])])[1].unexplained == 1


def test_the_first_record_is_read_even_where_nothing_else_is_needed(past: History) -> None:
    """It says what is gone; a sample that was made from what is gone needs no other."""
    sample = msgspec.structs.replace(past.samples[0], as_of=(3, -1, 3, 3, 3), frauds_as_of=3)
    first = {"transactions": {0: 50}, "entities": {0: 80}}
    needed = needed_of([sample], 1, first, {"transactions": {0: 900}, "entities": {0: 80}})
    assert needed == {"transactions": {0: 51}, "entities": {0: 80}}
