"""Cases: what people look into together, its payments, and everything that was done, with reasons."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from services.console.kept.rows import as_json, counted, instant, newest
from services.console.people.caller import Caller, Here, Labeller, Reader
from services.console.problems import invalid
from services.console.routes.asking import Reason, Tenant, WithTenant
from services.console.routes.links import Kind
from services.console.routes.queue import MAX_BULK, Item, LabelName, colleague, label_each
from services.console.wiring import Console
from services.console.work.cases import MAX_ENTITIES, Outcome
from streams.contracts.text.identifiers import checked_identifier

router = APIRouter(prefix="/api/v1/cases", tags=["cases"])
#: the newest payments of a case that are shown, and that are written out
SHOWN, EXPORTED = 200, 5_000
Number = Annotated[int, Path(ge=1, le=2**53)]


class Entity(BaseModel):
    """A card, a device, an address, a merchant or a customer."""

    kind: Kind
    id: str = Field(min_length=1, max_length=64)

    def checked(self) -> tuple[str, str]:
        """(kind, id). Raises: InvalidEvent: no transaction can have such an id."""
        return self.kind, checked_identifier(self.kind, self.id)


class NewCase(WithTenant, Reason):
    """A case about these entities."""

    title: str = Field(default="", max_length=120)
    entities: list[Entity] = Field(min_length=1, max_length=MAX_ENTITIES)


class MoreOf(Reason):
    """One more entity of a case."""

    entity: Entity


class CaseNote(BaseModel):
    """A note."""

    text: str = Field(min_length=1, max_length=2000)


class ToPerson(Reason):
    """Who goes on with a case."""

    to: str = Field(min_length=1, max_length=64)


class Closing(Reason):
    """What came of a case."""

    outcome: Outcome


class LabelMany(Reason):
    """What payments of a case were."""

    label: LabelName
    transaction_ids: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=MAX_BULK
    )


class Opened(BaseModel):
    """The number of a case."""

    case: int


@router.get("")
def cases(
    caller: Reader,
    console: Here,
    tenant: Tenant = None,
    closed: bool = False,
    mine: bool = False,
    kind: Kind | None = None,
    name: Annotated[str | None, Query(alias="id", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> dict[str, Any]:
    """Cases, the one that changed last first; of one entity, where it is named."""
    rows = console.cases.listed(
        caller.seen(tenant), closed=closed, assignee=caller.name if mine else None,
        entity=(kind, name) if kind is not None and name is not None else None, limit=limit,
    )  # fmt: skip
    return {"rows": rows}


@router.post("", status_code=201)
def begin(body: NewCase, caller: Labeller, console: Here) -> Opened:
    """Open a case, assigned to who opens it. 409 where an open case has one of the entities."""
    (tenant,) = caller.seen(body.tenant)
    entities = [each.checked() for each in body.entities]
    title = body.title.strip() or f"{entities[0][0]} {entities[0][1]}"
    return Opened(case=console.cases.begin(tenant, title, entities, caller.name, body.why, console.now_ms))


@router.get("/{case_id}")
def case(case_id: Number, caller: Reader, console: Here) -> dict[str, Any]:
    """A case with its newest payments and all that was done."""
    return _whole(console, caller, case_id, SHOWN)


@router.get("/{case_id}/export")
def export(case_id: Number, caller: Reader, console: Here) -> Response:
    """A case as a JSON file."""
    found = _whole(console, caller, case_id, EXPORTED)
    found |= {"exported_by": caller.name, "exported_at": instant(console.now_ms)}
    return Response(
        json.dumps(found, ensure_ascii=False, indent=1),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="case-{case_id}.json"'},
    )


@router.post("/{case_id}/notes", status_code=204)
def add_note(case_id: Number, body: CaseNote, caller: Labeller, console: Here) -> None:
    """Add a note."""
    console.cases.note(case_id, caller.tenants, caller.name, "note", body.text, console.now_ms)


@router.post("/{case_id}/assign", status_code=204)
def assign(case_id: Number, body: ToPerson, caller: Labeller, console: Here) -> None:
    """Give a case to a person who may label."""
    _give(console, caller, case_id, body, escalated=False)


@router.post("/{case_id}/escalate", status_code=204)
def escalate(case_id: Number, body: ToPerson, caller: Labeller, console: Here) -> None:
    """Give a case to a person who knows or may more; it is marked as escalated."""
    _give(console, caller, case_id, body, escalated=True)


@router.post("/{case_id}/entities", status_code=204)
def add_entity(case_id: Number, body: MoreOf, caller: Labeller, console: Here) -> None:
    """Take one more entity into a case."""
    entity = body.entity.checked()
    console.cases.add_entity(case_id, caller.tenants, caller.name, entity, body.why, console.now_ms)


@router.post("/{case_id}/label", status_code=202)
def label_many(case_id: Number, body: LabelMany, caller: Labeller, console: Here) -> dict[str, Any]:
    """Label many payments of a case at once; those that cannot be are named. Sent ten seconds later, as from the queue."""
    wanted = console.cases.payments_of(case_id, caller.tenants)
    (tenant,) = wanted.tenants
    own = {row["transaction_id"] for row in newest(console.database.read(), wanted, EXPORTED)}
    foreign = [each for each in body.transaction_ids if each not in own]
    if foreign:
        raise invalid("transaction_ids", f"{foreign[0]} is no payment of case {case_id}")
    items = [Item(transaction_id=each, tenant=tenant) for each in body.transaction_ids]
    # the case first: who may not change it labels nothing
    console.cases.note(
        case_id, caller.tenants, caller.name, "labelled", body.why, console.now_ms, label=body.label,
        payments=len(items),
    )  # fmt: skip
    return label_each(console, caller, items, body.label)


@router.post("/{case_id}/close", status_code=204)
def close(case_id: Number, body: Closing, caller: Labeller, console: Here) -> None:
    """Close a case."""
    console.cases.close(case_id, caller.tenants, caller.name, body.outcome, body.why, console.now_ms)


@router.post("/{case_id}/reopen", status_code=204)
def reopen(case_id: Number, body: Reason, caller: Labeller, console: Here) -> None:
    """Open a closed case again, assigned to who opens it."""
    console.cases.reopen(case_id, caller.tenants, caller.name, body.why, console.now_ms)


def _give(console: Console, caller: Caller, number: int, body: ToPerson, *, escalated: bool) -> None:
    to = colleague(console, body.to)
    console.cases.assign(
        number, caller.tenants, caller.name, to, body.why, console.now_ms, escalated=escalated
    )


def _whole(console: Console, caller: Caller, number: int, limit: int) -> dict[str, Any]:
    found = console.cases.one(number, caller.tenants)
    wanted = console.cases.payments_of(number, caller.tenants)
    connection = console.database.read()
    rows = [as_json(row, console.now_ms, caller.name) for row in newest(connection, wanted, limit)]
    return {**found, "counted": counted(connection, wanted), "rows": rows}
