"""Attributes of one's own: what settings declare travels, in one form on every way in; the rest is ignored, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from features.attributes import Attribute, Attributes
from features.store.partitions import partitions_of
from infra.stack import settings_for, with_parts
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits
from services.scoring.edge.problems import Problem
from streams.contracts.tenants import Tenants
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import parse_together, parse_transaction
from streams.log.feature_batch import FeatureRecord
from streams.log.records import digest_of
from streams.processor.intake import Stretch, accepted_only, sort_out
from streams.runtime.parts import PartError
from streams.runtime.settings import load_settings
from tests.support.feature_batches import decode_features
from tests.support.feature_batches import encode_features as encode_row

APPENDED = 1_795_256_200_000
TX = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
HOME = int(partitions_of(["card-42"], 2)[0])
DECLARED = Attributes(
    {
        "loyalty_tier": Attribute("text", meaning="tier in the loyalty programme"),
        "basket_items": Attribute("number", unit="articles"),
        "score": Attribute("number", tenants=("shop-a",)),
    }
)
TENANTS = Tenants(attributes=DECLARED)
CARD = "4111111111111111"
AMEX = 378_282_246_310_005


class Record(NamedTuple):
    value: bytes
    offset: int
    headers: Any = ()
    topic: str = "transactions"
    partition: int = HOME
    timestamp: int = APPENDED


def sent(attributes: Any, **fields: Any) -> bytes:
    return json.dumps({**TX, **fields, "attributes": attributes}).encode()


#: what is sent, what travels (a text: why it is refused), how many are ignored
CASES: list[tuple[Any, Any, int]] = [
    ({"loyalty_tier": "gold", "basket_items": 7}, {"loyalty_tier": "gold", "basket_items": 7}, 0),
    ({"basket_items": 7.0, "loyalty_tier": "gold"}, {"loyalty_tier": "gold", "basket_items": 7}, 0),
    ({"basket_items": 0.25}, {"basket_items": 0.25}, 0),
    ({"basket_items": -0.0}, {"basket_items": 0}, 0),
    ({"basket_items": None, "loyalty_tier": ""}, None, 0),
    ({"loyalty_tier": " cafe\u0301 "}, {"loyalty_tier": "caf\u00e9"}, 0),
    ({"loyalty_tier": "a{b}c", "basket_items": 1}, {"loyalty_tier": "a{b}c", "basket_items": 1}, 0),
    ({}, None, 0),
    (None, None, 0),
    ({"colour": "red", "deep": {"a": [1, {"b": 2}]}, "list": [1], "basket_items": 1}, {"basket_items": 1}, 3),
    # another tenant's
    ({"score": 0.5}, None, 1),
    # a field's name is an attribute's here
    ({"card_id": CARD, "tenant": "x", "currency": 1}, None, 3),
    ({"basket_items": "7"}, "attribute", 0),
    ({"basket_items": True}, "attribute", 0),
    ({"basket_items": [7]}, "attribute", 0),
    ({"loyalty_tier": 7}, "attribute", 0),
    ({"basket_items": 1e16}, "attribute", 0),
    ({"basket_items": 10**30}, "attribute", 0),
    ({"loyalty_tier": "x" * 65}, "attribute", 0),
    ({"loyalty_tier": "x" * 4000}, "attribute", 0),
    ({"loyalty_tier": "a\nb"}, "attribute", 0),
    ({"loyalty_tier": f"card {CARD}"}, "card_number", 0),
    ({"loyalty_tier": "4111 1111 1111 1111"}, "card_number", 0),
    ({"basket_items": AMEX}, "card_number", 0),
    ({"basket_items": -float(AMEX)}, "card_number", 0),
    ("gold", "field", 0),
    ({f"a{n}": n for n in range(33)}, "field", 0),
]


@pytest.mark.parametrize(("attributes", "wanted", "ignored"), CASES)
def test_the_same_travels_on_every_way_in(attributes: Any, wanted: Any, ignored: int) -> None:
    raw = sent(attributes)
    refused = wanted if isinstance(wanted, str) else None
    for others in ([], [json.dumps({**TX, "transaction_id": "tx-2"}).encode()]):
        records = [Record(value, offset) for offset, value in enumerate([raw, *others])]
        intake = sort_out(records, 2, 100, tenants=TENANTS)
        assert [(r.offset, e.reason) for r, e in intake.refused] == ([(0, refused)] if refused else [])
        assert intake.undeclared_attributes == ignored
        assert intake.unknown_fields == 0
        if not refused:
            assert as_dict(intake.accepted.transactions[0]) == wanted
            assert (intake.accepted.columns.attributes[0] or None) == wanted
        columns = ([r.offset for r in records], [r.timestamp for r in records], [r.value for r in records])
        transactions, _, _ = accepted_only(Stretch(HOME, *columns), 2, TENANTS)
        assert transactions == list(intake.accepted.transactions)
    edge = Intake(Limits(), TENANTS)
    for answer in (edge.many([raw], APPENDED, 100)[0], alone(edge, raw)):
        if refused:
            assert isinstance(answer, Problem) and (answer.status, answer.reason) == (422, refused)
            assert refused == "field" or str(answer.field).startswith("attributes.")
            assert CARD not in str(answer.to_json()) and str(AMEX) not in str(answer.to_json())
        else:
            assert as_dict(answer.transaction) == wanted
            assert json.loads(answer.body).get("attributes") == wanted
            # what the edge publishes is what the processor takes
            assert parse_transaction(answer.body) == answer.transaction


def alone(edge: Intake, raw: bytes) -> Any:
    try:
        return edge.one(raw, APPENDED, 100)
    except Problem as problem:
        return problem


def as_dict(tx: Any) -> Any:
    return tx.attributes or None


def test_a_tenant_has_its_own_attributes() -> None:
    intake = sort_out([Record(sent({"score": 0.5}, tenant="shop-a"), 0)], 2, 100, tenants=TENANTS)
    assert as_dict(intake.accepted.transactions[0]) == {"score": 0.5}


@pytest.mark.parametrize(
    "attributes",
    [
        '{"basket_items": 7, "basket_items": 8}', '{"basket_items":7,"basket_items":8}', '{"deep":{"a":1,"a":2}}',
        '{"a":1}, "attributes": {"a":1}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("beside", [0, 3])
def test_an_attribute_named_twice_says_two_things(attributes: str, beside: int) -> None:
    raw = json.dumps(TX).encode()[:-1] + f', "attributes": {attributes}}}'.encode()
    values = [raw, *[json.dumps({**TX, "transaction_id": f"tx-{n}"}).encode() for n in range(2, 2 + beside)]]
    records = [Record(value, offset) for offset, value in enumerate(values)]
    intake = sort_out(records, 2, 100, tenants=TENANTS)
    assert [(r.offset, e.reason) for r, e in intake.refused] == [(0, "repeated_field")]
    assert len(intake.accepted) == beside


def test_ordinary_attributes_are_parsed_together() -> None:
    """Or each would cost ten times as much."""
    some = [sent({"loyalty_tier": "gold", "basket_items": n, "card_id": "x"}) for n in range(5)]
    plain = [json.dumps(TX).encode()] * 3
    for values in (some, [*plain, *some], [*some, *plain], [sent({}), *some]):
        found = parse_together(values)
        assert found is not None and found.plain
        assert found.transactions == [parse_transaction(value) for value in values]


def test_attributes_are_no_part_of_what_a_repetition_is_known_by() -> None:
    """A file that is sent again after one was declared holds no conflicts."""
    one, other, none = (
        parse_transaction(sent(found)) for found in ({"basket_items": 7}, {"basket_items": 8}, {})
    )
    assert len({digest_of(one), digest_of(other), digest_of(none)}) == 1
    assert digest_of(none) == digest_of(parse_transaction(json.dumps(TX).encode()))
    assert b"attributes" not in encode(parse_transaction(json.dumps(TX).encode()))


SETTINGS = """
[attributes.loyalty_tier]
type = "text"
meaning = "tier in the loyalty programme"
[attributes.basket_items]
type = "number"
unit = "articles"
[attributes.score]
type = "number"
tenants = ["shop-a"]
"""


def test_settings_declare_them(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    with_parts(settings_for(tmp_path, 21000)).save()
    assert load_settings(tmp_path).known_tenants == TENANTS
    (tmp_path / "settings.toml").unlink()
    assert with_parts(load_settings(tmp_path)).known_tenants == Tenants()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[attributes.Tier]\ntype = "text"', "lower-case"), ('[attributes.a-b]\ntype = "text"', "lower-case"),
        ('[attributes.tier]\ntype = "date"', "date"), ('[attributes.tier]\nkind = "text"', "kind|type"),
        ('[attributes.tier]\ntype = "text"\nunit = "EUR"', "a text has no unit"),
        ("".join(f'[attributes.a{n}]\ntype = "text"\n' for n in range(33)), "32"),
    ],
)  # fmt: skip
def test_what_settings_cannot_declare(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(PartError, match=why):
        with_parts(settings_for(tmp_path, 21000))


def test_features_carry_them() -> None:
    intake = sort_out(
        [Record(sent({"loyalty_tier": "gold", "basket_items": 7.5}), 3)], 2, 100, tenants=TENANTS
    )
    tx = intake.accepted.transactions[0]
    row = FeatureRecord("c", 0, 3, 1, 2, 0, tx, tx.event_ms, b"\0\0\0\0", (-1, -1, -1, -1, -1))
    assert decode_features(encode_row(row)) == row
