"""Payments for users to make: simulated, of now, every id of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from features.transaction import Transaction
from loadtest.traffic.simulator import Plan, create_world, history_table
from loadtest.traffic.simulator.world import letters
from streams.contracts.transaction_parsing import parse_transaction
from streams.mapping.encoding import encode_transactions

CARDS = 10_000
AT_ONCE = 2_000
#: an attacker's payments are fraud half of the time: stolen cards among the victims' own use
ATTACK_FRAUD_RATE = 0.5
#: after a run's prefix: who pays
_HONEST, _ATTACKER = "h", "x"


def run_prefix() -> str:
    """What all ids of one run begin with."""
    return letters(secrets.randbelow(19**8), 8)


def attacks(prefix: str, ids: Iterable[str]) -> int:
    """How many of a run's transactions are attackers'."""
    return sum(one.startswith(prefix + _ATTACKER) for one in ids)


def payments(prefix: str, seed: int, *, attack: bool) -> Iterator[Transaction]:
    """Transactions without end, their ids beginning with ``prefix``; some thousands are made at a time."""
    world = create_world(seed, CARDS)
    plan = Plan(fraud_rate=ATTACK_FRAUD_RATE) if attack else Plan()
    part = 0
    while True:
        now = datetime.now(UTC)
        table = history_table(
            world, now - timedelta(seconds=10), now, plan=plan, count=AT_ONCE, stream=20_000 + part,
            id_prefix=prefix + (_ATTACKER if attack else _HONEST) + letters(part, 3),
        )  # fmt: skip
        for raw in encode_transactions(table):
            yield parse_transaction(raw)
        part += 1
