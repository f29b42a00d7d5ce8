"""The accounts against ten obvious lines, over any mixture of copies, refusals, doubled and unknown decisions."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.audit import Accounts
from tests.support.ledger_records import dead, decision, tx

NAMES = st.sampled_from("abcdef")


@settings(deadline=None)
@given(
    sent=st.lists(st.tuples(NAMES, st.booleans()), max_size=20),
    answers=st.lists(st.tuples(NAMES, st.sampled_from(["scored", "degraded", "not_scored"])), max_size=20),
    cut=st.integers(1, 7),
)
def test_sums_agree_with_the_obvious_ones(sent, answers, cut) -> None:
    records = [tx(name, offset) for offset, (name, _) in enumerate(sent)]
    records += [dead(offset) for offset, (_, refused) in enumerate(sent) if refused]
    records += [decision(name, at, status) for at, (name, status) in enumerate(answers)]
    accounts = Accounts()
    for begin in range(0, len(records), cut):
        accounts.add(records[begin : begin + cut])
        accounts.balance()
    sums = accounts.balance()

    live = {name for name, refused in sent if not refused}
    given_to = Counter(name for name, _ in answers)
    first = dict(reversed(answers))
    assert sums.ingested == len(live) + sum(refused for _, refused in sent)
    assert sums.duplicated == sum(count - 1 for name, count in given_to.items() if name in live)
    assert sums.unknown == sum(count for name, count in given_to.items() if name not in live)
    assert sums.in_flight == len(live - set(given_to))
    assert sums.repeated == sum(not refused for _, refused in sent) - len(live)
    assert sums.scored == sum(1 for name in live & set(first) if first[name] == "scored")
    assert sums.ingested == sums.decided + sums.dead_lettered + sums.in_flight
