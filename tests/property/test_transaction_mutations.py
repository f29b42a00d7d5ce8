"""Fuzzed transactions get one verdict, whatever way they come: alone or in a chunk on Kafka, alone or in a batch over HTTP.

``make fuzz-transactions`` sends 200,000 of them to a whole stack.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pytest

from features.attributes import Attribute, Attributes
from features.catalogue import WIDTH
from features.transaction import Transaction
from services.scoring.decision.decider import Case, Decider
from services.scoring.edge.entries import Entry
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits
from services.scoring.edge.problems import Problem
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import InvalidEvent, check_not_ahead
from streams.contracts.tenants import Tenants
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import admitted, parse_transaction, unknown_fields
from streams.processor.intake import sort_out
from streams.runtime.dead_letters import dead_letter, decode_dead_letter
from tests.support.fuzzed_transactions import fuzzed

COUNT = int(os.environ.get("TRANSACTION_MUTATIONS", "3000"))
FIRST = int(os.environ.get("TRANSACTION_MUTATIONS_FROM", "0"))
NOW = datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
TENANTS = Tenants(
    attributes=Attributes({"loyalty_tier": Attribute("text"), "basket_items": Attribute("number")})
)
CHUNK = 50


class Record(NamedTuple):
    value: bytes
    offset: int
    partition: int = 0
    headers: Any = ()
    topic: str = "transactions"
    timestamp: int = NOW_MS
    key: bytes | None = None


#: a transaction, or why there is none
Verdict = Transaction | tuple[str, str]


def alone(value: bytes) -> Verdict:
    try:
        sent = parse_transaction(value)
        unknown_fields(value, sent)
        transaction = admitted(sent, TENANTS).transaction
        check_not_ahead(transaction.event_ms, NOW_MS)
    except InvalidEvent as error:
        assert error.reason and str(error)
        return error.reason, error.field
    return transaction


def in_a_chunk(values: list[bytes], first: int) -> list[Verdict]:
    """As the processor takes them; what it refuses is a dead letter that can be kept and read."""
    records = [Record(value, first + n) for n, value in enumerate(values)]
    found = sort_out(records, 1, 100, tenants=TENANTS)
    assert not found.misplaced
    out: dict[int, Verdict] = dict(zip(found.accepted.offsets, found.accepted.transactions, strict=True))
    for record, error in found.refused:
        letter = decode_dead_letter(encode(dead_letter(record, error, NOW_MS)))
        assert letter.text and (letter.reason, letter.source_offset) == (error.reason, record.offset)
        out[record.offset] = error.reason, error.field
    return [out[record.offset] for record in records]


def over_http(found: Entry | Problem) -> Verdict:
    if isinstance(found, Entry):
        return found.transaction
    assert 400 <= found.status < 500 and found.status != 429 and str(found)
    return found.reason, found.field


def answer(edge: Intake, value: bytes) -> Entry | Problem:
    try:
        return edge.one(value, NOW_MS, 100)
    except Problem as problem:
        return problem


@pytest.mark.timeout(COUNT // 50 + 300)
def test_every_way_comes_to_the_same_verdict_and_what_is_accepted_is_decided() -> None:
    edge = Intake(Limits(tenant_rate=1e12), TENANTS)
    decider = Decider(clock=lambda: NOW_MS / 1000)
    reasons: Counter[str] = Counter()
    for first in range(FIRST, FIRST + COUNT, CHUNK):
        values = list(fuzzed(min(CHUNK, FIRST + COUNT - first), first, now=NOW))
        verdicts = [alone(value) for value in values]
        assert in_a_chunk(values, first) == verdicts
        assert [over_http(answer(edge, value)) for value in values] == verdicts
        assert [over_http(found) for found in edge.many(values, NOW_MS, 100)] == verdicts
        # together with none that is refused
        good = [
            value for value, found in zip(values, verdicts, strict=True) if isinstance(found, Transaction)
        ]
        accepted = [found for found in verdicts if isinstance(found, Transaction)]
        assert in_a_chunk(good, first) == accepted
        cases = [Case(tx, tx.event_ms, NOW_MS, 100) for tx in accepted]
        decided = decider.decide(cases, np.zeros((len(cases), WIDTH), np.float32), None)
        assert [decode_decision(encode(one)).transaction_id for one in decided] == [
            tx.transaction_id for tx in accepted
        ]
        reasons.update("accepted" if isinstance(found, Transaction) else found[0] for found in verdicts)
    # the damage is of all kinds and degrees
    assert reasons["accepted"] > COUNT / 4 and len(reasons) > 6
