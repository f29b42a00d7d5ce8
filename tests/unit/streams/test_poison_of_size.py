"""Records near and beyond what a record may hold: what comes of them always fits into a record itself."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.kernels.columns import PAYMENT
from features.store.partitions import partitions_of
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.json_encoding import encode
from streams.log.forwarding import forward
from streams.log.records import (
    HEADER_APPENDED_MS,
    HEADER_DECIDED,
    MAX_ITEMS_BYTES,
    EntityItem,
    EntityItems,
    PaidColumns,
    decode_items,
    encode_in_parts,
    encode_items,
)
from streams.log.seal import FixedKeys, key_of
from streams.log.topics import TRANSACTIONS
from streams.log.trace import HEADER_TRACE
from streams.processor.payment_updates import split_paid, unapplied_paid, unpack_paid
from streams.runtime.dead_letters import MAX_ORIGINAL_BYTES, dead_letter, decode_dead_letter

#: what Kafka allows a record by default, with room for its key and headers
FITS = 950_000


class Record(NamedTuple):
    value: bytes | None
    headers: Any = ()
    topic: str = "transactions"
    partition: int = int(partitions_of(["card-42"], 2)[0])
    offset: int = 7
    timestamp: int = 1_795_256_200_000


class Sent:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def produce(self, topic: str, **record: Any) -> None:
        self.records.append({"topic": topic, **record})


@pytest.mark.parametrize("size", [MAX_ORIGINAL_BYTES + 1, 760_000, 5_000_000])
def test_a_dead_letter_fits_whatever_was_refused(size: int) -> None:
    value = random.Random(size).randbytes(size).replace(b"4", b"x")
    sent = encode(dead_letter(Record(value), InvalidEvent("too_large", "f" * 10_000, "\ud800" * size), 0))
    assert len(sent) < FITS / 4
    letter = decode_dead_letter(sent)
    assert letter.truncated and letter.original_size == size
    assert letter.original_sha256 == hashlib.sha256(value).hexdigest()
    assert letter.original_bytes() == value[:MAX_ORIGINAL_BYTES]


def test_a_dead_letter_of_a_usual_record_holds_it_whole() -> None:
    letter = dead_letter(Record(b"x" * MAX_ORIGINAL_BYTES), InvalidEvent("not_json", "", "not JSON"), 0)
    assert not letter.truncated
    assert letter.original_bytes() == b"x" * MAX_ORIGINAL_BYTES


def test_the_hash_of_a_truncated_original_is_of_masked_bytes() -> None:
    """A number could otherwise be found again: only a few million numbers fit a masked one."""
    value = b"4111111111111111" + b"x" * 100_000
    letter = dead_letter(Record(value), InvalidEvent("too_large", "", "too large"), 0)
    assert letter.original_sha256 != hashlib.sha256(value).hexdigest()
    assert b"4111111111111111" not in (letter.original_bytes() or b"")


def test_a_forwarded_record_takes_only_the_headers_that_mean_something() -> None:
    producer: Any = Sent()
    headers = [("x", b"y" * 900_000), (HEADER_TRACE, b"00-1"), (HEADER_DECIDED, b"d" * 900_000), ("n", None)]
    forward(
        producer, TRANSACTIONS, Record(b"v" * 16_000, headers), "card-42", 1, FixedKeys((key_of(b"k" * 32),))
    )
    (sent,) = producer.records
    assert [name for name, _ in sent["headers"]] == [
        HEADER_TRACE,
        HEADER_APPENDED_MS,
        "tollgate-forwarded-from",
    ]
    assert sent["value"] == b"v" * 16_000
    assert sum(len(name) + len(value) for name, value in sent["headers"]) < 1_000


def paid(counts: list[int], name: str) -> PaidColumns:
    """Payments with so many updates each, from offset 0 on."""
    payments = np.zeros(len(counts), dtype=PAYMENT)
    payments["offset"] = np.arange(len(counts))
    rows = np.repeat(np.arange(len(counts)), counts)
    kinds = np.concatenate([np.arange(count) for count in counts])
    ids = [f"{name}{row}-{kind}" for row, kind in zip(rows.tolist(), kinds.tolist(), strict=True)]
    cards = np.arange(len(counts), dtype="<u4") + 100
    return PaidColumns(
        payments.tobytes(), cards.tobytes(), rows.astype("<u4").tobytes(), kinds.astype("u1").tobytes(), ids
    )


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(0, 4_000))
def test_updates_in_parts_are_the_same_updates(counts: list[int], max_bytes: int) -> None:
    whole = paid(counts, "m-")
    parts = [unpack_paid(part) for part in split_paid(whole, max_bytes)]
    wanted = unpack_paid(whole)
    assert np.concatenate([part.payments for part in parts]).tobytes() == wanted.payments.tobytes()
    assert np.concatenate([part.cards for part in parts]).tolist() == wanted.cards.tolist()
    assert np.concatenate([part.kinds for part in parts]).tolist() == wanted.kinds.tolist()
    assert [name for part in parts for name in part.ids] == wanted.ids
    # read one after the other, none is taken for a repetition
    known = -1
    for part in parts:
        unapplied, known = unapplied_paid(part, known)
        assert unapplied.ids == part.ids


def test_a_chunk_of_the_longest_ids_gives_records_that_fit() -> None:
    parts = split_paid(paid([4] * 4096, "\U0001f4b3" * 50), MAX_ITEMS_BYTES)
    sizes = [len(encode_items(EntityItems("transactions", 0, [], part))) for part in parts]
    assert len(sizes) > 1 and max(sizes) < FITS


def test_label_updates_in_parts_are_the_same_updates() -> None:
    items = [
        EntityItem("card", f"{n % 3}-" + "\U0001f4b3" * 60, "declined", n // 3, 1, 0, 0, 0)
        for n in range(6_000)
    ]
    values = encode_in_parts(EntityItems("decisions", 1, items))
    assert len(values) > 1 and max(map(len, values)) < FITS
    parts = [decode_items(value) for value in values]
    assert [item for part in parts for item in part.items] == items
    assert {(part.source_topic, part.source_partition) for part in parts} == {("decisions", 1)}
    # an offset's updates stay together
    for before, after in pairwise(parts):
        assert before.items[-1].offset < after.items[0].offset
