"""Known tenants only, where settings name some: refused by name, or counted as settings say; the same on every way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from features.store.partitions import partitions_of
from services.scoring.edge.intake import Intake
from services.scoring.edge.limits import Limits
from services.scoring.edge.problems import Problem
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.processor.intake import Stretch, accepted_only, sort_out
from streams.runtime.settings import Settings, SettingsError, load_settings

APPENDED = 1_795_256_200_000
TX = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
HOME = int(partitions_of(["card-42"], 2)[0])
REFUSING = Tenants(frozenset({"default", "shop-a"}))
MAPPING = Tenants(frozenset({"default", "shop-a"}), "shop-a")


class Record(NamedTuple):
    value: bytes
    offset: int
    headers: Any = ()
    topic: str = "transactions"
    partition: int = HOME
    timestamp: int = APPENDED


def values(*tenants: str | None) -> list[bytes]:
    return [json.dumps(TX if tenant is None else {**TX, "tenant": tenant}).encode() for tenant in tenants]


SENT = values(None, "shop-a", "shop-b", "default", " shop-a", "shop-c")


@pytest.mark.parametrize(
    ("tenants", "accepted", "refused"),
    [
        (ANY_TENANT, ["default", "shop-a", "shop-b", "default", "shop-a", "shop-c"], []),
        (REFUSING, ["default", "shop-a", "default", "shop-a"], [2, 5]),
        (MAPPING, ["default", "shop-a", "shop-a", "default", "shop-a", "shop-a"], []),
    ],
)
def test_the_registry_decides_on_every_way_in(
    tenants: Tenants, accepted: list[str], refused: list[int]
) -> None:
    records = [Record(value, offset) for offset, value in enumerate(SENT)]
    intake = sort_out(records, 2, 100, tenants=tenants)
    assert list(intake.accepted.columns.tenant) == accepted
    assert [(record.offset, error.reason, error.field) for record, error in intake.refused] == [
        (offset, "tenant", "tenant") for offset in refused
    ]
    # a rebuild, which must come to the same state
    columns = ([r.offset for r in records], [r.timestamp for r in records], [r.value for r in records])
    transactions, _, offsets = accepted_only(Stretch(HOME, *columns), 2, tenants)
    assert [tx.tenant for tx in transactions] == accepted
    assert offsets.tolist() == [offset for offset in range(len(SENT)) if offset not in refused]
    # HTTP, a batch and one at a time
    edge = Intake(Limits(), tenants)
    for answers in (edge.many(SENT, APPENDED, 100), [alone(edge, raw) for raw in SENT]):
        assert [e.transaction.tenant for e in answers if not isinstance(e, Problem)] == accepted
        assert [(i, a.status, a.reason) for i, a in enumerate(answers) if isinstance(a, Problem)] == [
            (offset, 422, "tenant") for offset in refused
        ]


def alone(edge: Intake, raw: bytes) -> Any:
    try:
        return edge.one(raw, APPENDED, 100)
    except Problem as problem:
        return problem


def test_an_unknown_tenant_is_refused_by_name_with_the_way_out() -> None:
    with pytest.raises(InvalidEvent, match="'shop-b' is not known here: add it to `tenants`"):
        REFUSING.admitted("shop-b")


def test_settings_hold_the_registry(tmp_path: Path) -> None:
    assert Settings(home=str(tmp_path)).known_tenants == ANY_TENANT
    Settings(home=str(tmp_path), tenants=("default", "shop-a"), unknown_tenant="shop-a").save()
    assert load_settings(tmp_path).known_tenants == MAPPING
    with pytest.raises(ValueError, match="unknown_tenant"):
        Settings(home=str(tmp_path), tenants=("default",), unknown_tenant="other")
    path = tmp_path / "settings.json"
    path.write_text(path.read_text().replace('"unknown_tenant": "shop-a"', '"unknown_tenant": "other"'))
    with pytest.raises(SettingsError, match="unknown_tenant"):
        load_settings(tmp_path)
