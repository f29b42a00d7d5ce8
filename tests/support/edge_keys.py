"""Keys for seals in tests, and the edge's decision out of a published record."""

from __future__ import annotations

from typing import Any

from streams.contracts.transaction_parsing import parse_transaction
from streams.log.edge_decision import EdgeDecision, open_decision
from streams.log.records import HEADER_DECIDED
from streams.log.seal import FixedKeys, key_of

#: the first one seals
KEYS = FixedKeys((key_of(b"new" * 10 + b"!!"), key_of(b"old" * 10 + b"!!")))


def decision_in(published: tuple[Any, ...]) -> EdgeDecision:
    """The decision that travels with a published transaction (topic, key, value, headers), as the processor believes it."""
    *_, value, headers = published
    return open_decision(KEYS, headers[HEADER_DECIDED], value, parse_transaction(value), 0)
