"""A field that is named twice is refused, however the record is spelt and whichever of the two would count."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.transaction import Transaction
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import parse_label
from streams.contracts.text.json_encoding import encode
from streams.contracts.text.repeated_fields import lines_repeat_a_field, repeats_a_field
from streams.contracts.transaction_parsing import parse_together, parse_transaction
from tests.support import archive_samples as samples

GOOD = [encode(samples.transaction(n, samples.START_MS + n)) for n in range(20)]
#: without attributes, which have a test of their own
FIELDS = Transaction.__struct_fields__[:-1]


class Pairs(list):  # type: ignore[type-arg]
    """An object as its fields come, some perhaps twice."""


names = st.sampled_from(
    ["a", "b", "ip", "card_id", "amount_minor", "channel", "country", 'q"', "x:", "e\u0301"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "a", '":', '"', "\\", "null", "{}"]),
    lambda inner: st.lists(inner, max_size=2) | st.lists(st.tuples(names, inner), max_size=3).map(Pairs),
    max_leaves=6,
)


def written(value: Any, blank: str) -> str:
    if isinstance(value, Pairs):
        inner = ",".join(f"{json.dumps(name)}{blank}:{blank}{written(one, blank)}" for name, one in value)
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(one, blank) for one in value) + "]"
    return json.dumps(value)


def repeats(value: Any) -> bool:
    """Ten obvious lines beside the fast ones."""
    if isinstance(value, Pairs):
        found = [name for name, _ in value]
        return len(found) != len(set(found)) or any(repeats(one) for _, one in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(st.lists(st.tuples(names, values), max_size=5).map(Pairs), st.sampled_from(["", " ", "\n\t"]))
def test_an_object_repeats_a_field_where_its_fields_do(value: Pairs, blank: str) -> None:
    assert repeats_a_field(written(value, blank).encode()) is repeats(value)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [b"null", b'"x"', b"1"])
def test_each_field_of_a_transaction_counts_once(name: str, value: bytes) -> None:
    bad = GOOD[3].replace(b"{", b'{"%b":%b,' % (name.encode(), value), 1)
    lines = [*GOOD[:5], bad, *GOOD[5:]]
    assert not lines_repeat_a_field(b"\n".join(GOOD), GOOD, [])
    assert lines_repeat_a_field(b"\n".join(lines), lines, [])
    assert parse_together(lines) is None
    with pytest.raises(InvalidEvent) as refused:
        parse_transaction(GOOD[3][:-1] + b"," + bad[1 : bad.index(b",")] + b"}")
    assert refused.value.reason in ("repeated_field", "field")


def test_a_name_with_a_blank_behind_it_counts_too() -> None:
    bad = GOOD[0].replace(b"{", b'{"amount_minor" :1,', 1)
    assert parse_together([*GOOD, bad]) is None
    with pytest.raises(InvalidEvent, match="named twice"):
        parse_transaction(bad)


objects = st.lists(st.tuples(names, values), max_size=4).map(Pairs)


@given(st.lists(objects | st.none(), min_size=1, max_size=6), st.sampled_from(["", " "]))
def test_attributes_count_once_too(told: list[Pairs | None], blank: str) -> None:
    lines = [
        line if one is None else line[:-1] + f',{blank}"attributes":{blank}{written(one, blank)}}}'.encode()
        for line, one in zip(GOOD, told, strict=False)
    ]
    refused = [one is not None and repeats(one) for one in told]
    for line, bad in zip(lines, refused, strict=True):
        try:
            parse_transaction(line)
        except InvalidEvent as error:
            assert bad and error.reason == "repeated_field"
        else:
            assert not bad
    together = parse_together(lines)
    if together is not None:
        assert not any(refused) and together.transactions == [parse_transaction(line) for line in lines]


def test_what_parses_together_is_plain_and_what_it_was() -> None:
    together = parse_together(GOOD)
    assert together is not None and together.plain
    assert together.transactions == [parse_transaction(raw) for raw in GOOD]


def test_a_label_counts_each_field_once() -> None:
    label = (
        b'{"transaction_id":"tx-1","label":"fraud","label_time":"2026-11-21T10:15:30Z","source":"analyst",'
        b'"card_id":"c","merchant_id":"m","event_time":"2026-11-21T10:15:30Z"}'
    )
    assert parse_label(label).label == "fraud"
    with pytest.raises(InvalidEvent, match="named twice"):
        parse_label(label.replace(b"{", b'{"label":"legit",', 1))
