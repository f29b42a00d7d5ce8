"""Decisions: the ones that were not approved as a list, and any one whole, with its card's payments and what is related."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from features.catalogue import FEATURES
from features.identity import DEFAULT_TENANT
from services.console.kept.rows import ENTITIES, Shown, Wanted, as_json, counted, newest, one
from services.console.people.caller import Here, Labeller, Reader
from services.console.problems import unknown
from services.console.routes.asking import (
    Cursor,
    Filters,
    OneTenant,
    Tenant,
    WithTenant,
    cursor_text,
    identity_for,
    placed,
)
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1", tags=["decisions"])
RELATED = 20
Id = Annotated[str, Path(max_length=256, description="transaction id")]
Limit = Annotated[int, Query(ge=1, le=500)]


class Decisions(BaseModel):
    """A page of decisions. ``rows``: each a DecisionRow. ``next``: for the page after, null at the end. ``counted``: of all pages."""

    rows: list[dict[str, Any]]
    next: str | None
    counted: int


class NewNote(WithTenant):
    """A note on a decision."""

    text: str = Field(min_length=1, max_length=2000)


@router.get("/decisions")
def decisions(
    caller: Reader,
    console: Here,
    wanted: Filters,
    tenant: Tenant = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Decisions:
    """Decisions that were not approved, newest first."""
    wanted = _for(wanted, caller.seen(tenant))
    connection = console.database.read()
    rows = newest(connection, wanted, limit, placed(Shown, cursor))
    after = Shown(rows[-1]["decided_ms"], rows[-1]["id"]) if len(rows) == limit else None
    shown = [as_json(row, console.now_ms, caller.name) for row in rows]
    return Decisions(rows=shown, next=cursor_text(after), counted=counted(connection, wanted))


@router.get("/features")
def features(_: Reader) -> list[dict[str, Any]]:
    """The catalogue: what each feature of a decision is."""
    return [
        {
            "name": each.name, "entity": each.entity, "unit": str(each.unit), "window_s": each.window_s or None,
            "description": each.description,
        }
        for each in FEATURES
    ]  # fmt: skip


@router.get("/decisions/{transaction_id:path}/timeline")
def timeline(
    transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT, limit: Limit = 200
) -> dict[str, Any]:
    """The payments of the decision's card, newest first; approved ones from the archive."""
    identity = identity_for(caller, tenant, transaction_id)
    row = one(console.database.read(), identity)
    card, until_ms = (
        (row["card_id"], row["decided_ms"]) if row is not None else _card_of(console, tenant, transaction_id)
    )
    kept = newest(console.database.read(), Wanted(tenants=(tenant,), entities={"card": card}), limit)
    shown = [_point(as_json(each, console.now_ms, caller.name), transaction_id) for each in kept]
    known = {each["transaction_id"] for each in shown}
    archived = console.outside.card(tenant, card, until_ms, limit)
    shown += [_point(each, transaction_id) for each in archived if each["transaction_id"] not in known]
    shown.sort(key=lambda each: each["event_time"] or "", reverse=True)
    return {"card_id": card, "rows": shown[:limit], "from": "archive" if archived else "console"}


@router.get("/decisions/{transaction_id:path}/related")
def related(
    transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT
) -> dict[str, Any]:
    """Decisions that were not approved and share an entity with this one."""
    connection = console.database.read()
    row = one(connection, identity_for(caller, tenant, transaction_id))
    groups = []
    for entity, column in ENTITIES.items() if row is not None else ():
        if row is None or row[column] is None:
            continue
        wanted = Wanted(tenants=(tenant,), entities={entity: row[column]})
        count = counted(connection, wanted)
        if count > 1:
            found = newest(connection, wanted, RELATED + 1)
            rows = [as_json(each, console.now_ms, caller.name) for each in found if each["id"] != row["id"]][
                :RELATED
            ]
            groups.append({"entity": entity, "id": row[column], "count": count - 1, "rows": rows})
    return {"groups": groups}


@router.get("/decisions/{transaction_id:path}/trace")
def trace(
    transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT
) -> dict[str, Any]:
    """Where the time of a transaction went: as ``tollgate trace --json``."""
    identity_for(caller, tenant, transaction_id)
    return console.outside.trace(tenant, transaction_id)


@router.get("/decisions/{transaction_id:path}/explained")
def explained(transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT) -> Any:
    """Model, training, data and code behind a decision: as ``tollgate decisions explain --json``; takes seconds."""
    identity_for(caller, tenant, transaction_id)
    return console.outside.commands.run(
        "decisions", "explain", options=[f"--tenant={tenant}"], given=[transaction_id]
    )


@router.get("/decisions/{transaction_id:path}/again")
def again(
    transaction_id: Id,
    caller: Reader,
    console: Here,
    tenant: OneTenant = DEFAULT_TENANT,
    today: bool = False,
) -> Any:
    """The decision made again, and where it differs: as ``tollgate decisions replay --json``; with ``today`` by what is live now."""
    identity_for(caller, tenant, transaction_id)
    options = [f"--tenant={tenant}", *(["--today"] if today else [])]
    return console.outside.commands.run("decisions", "replay", options=options, given=[transaction_id])


@router.get("/decisions/{transaction_id:path}/beside")
def beside(
    transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT
) -> dict[str, Any]:
    """Each feature of the decision beside the card's earlier payments and beside the live model's reference."""
    identity_for(caller, tenant, transaction_id)
    return console.outside.beside(tenant, transaction_id)


@router.post("/decisions/{transaction_id:path}/notes", status_code=201)
def add_note(transaction_id: Id, body: NewNote, caller: Labeller, console: Here) -> dict[str, Any]:
    """Add a note."""
    identity = identity_for(caller, body.tenant, transaction_id)
    return console.desk.add_note(identity, caller.name, body.text, console.now_ms)


@router.get("/decisions/{transaction_id:path}")
def decision(
    transaction_id: Id, caller: Reader, console: Here, tenant: OneTenant = DEFAULT_TENANT
) -> dict[str, Any]:
    """Any decision whole: as ``tollgate decisions show --json``, with label, lock and notes."""
    identity = identity_for(caller, tenant, transaction_id)
    found = console.outside.decision(tenant, transaction_id)
    if found is None:
        raise unknown(f"no decision is known of {transaction_id} (tenant {tenant})")
    shown, _ = found
    row = console.desk.row(identity, caller.name, console.now_ms)
    return {
        **shown, "row": row, "label": row and row["label"], "lock": row and row["lock"],
        "notes": console.desk.notes(identity),
    }  # fmt: skip


def _card_of(console: Console, tenant: str, transaction_id: str) -> tuple[str, int]:
    found = console.outside.decision(tenant, transaction_id)
    if found is None:
        raise unknown(f"no decision is known of {transaction_id} (tenant {tenant})")
    return str(found[0]["decision"]["card_id"]), console.now_ms


def _point(row: dict[str, Any], this: str) -> dict[str, Any]:
    names = ("transaction_id", "decision", "status", "score", "amount_minor", "currency", "merchant_id", "channel", "country", "event_time")  # fmt: skip
    label = row.get("label")
    return {
        **{name: row.get(name) for name in names}, "label": label["label"] if isinstance(label, dict) else label,
        "this": row["transaction_id"] == this,
    }  # fmt: skip


def _for(wanted: Wanted, tenants: Any) -> Wanted:
    return Wanted(**{**wanted.__dict__, "tenants": tuple(tenants)})
